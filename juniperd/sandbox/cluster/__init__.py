"""The sandbox's Kubernetes API server: TLS, bearer tokens, RBAC by group, and objects enough for a day of kubectl.

It answers in JSON over HTTP/1.1; a real server also speaks protobuf and HTTP/2, which no client needs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from juniperd.sandbox.cluster.access import Access, RoleBinding
from juniperd.sandbox.cluster.authentication import Authentication, Authenticator, Clock, Refused, User
from juniperd.sandbox.cluster.call import Call, read
from juniperd.sandbox.cluster.logs import Logs
from juniperd.sandbox.cluster.objects import Ids, Objects, new_id
from juniperd.sandbox.cluster.resources import Resources
from juniperd.sandbox.cluster.site import nothing_here, page, refusal
from juniperd.sandbox.cluster.state import ClusterState
from juniperd.sandbox.cluster.status import PathUnknown, StatusError, bad_request, forbidden, too_large, unauthorized
from juniperd.sandbox.faults import Faults, Handler
from juniperd.sandbox.listening import Double, Listening

BODY_LIMIT: Final = 3 * 1024 * 1024
_USER: Final = web.RequestKey("user", User)


def _secure() -> Listening:
    return Listening.reserve(secure=True)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it was answered; nobody's name where the bearer was refused."""

    method: str
    path: str
    username: str | None
    status: int


@dataclass(slots=True)
class ClusterDouble(Double):
    """One cluster, in its first state when it is made; `listening.tls` must be set before it starts."""

    authenticator: Authenticator
    state: ClusterState = field(default_factory=ClusterState)
    bindings: tuple[RoleBinding, ...] = ()
    clock: Clock = time.time
    ids: Ids = new_id
    listening: Listening = field(default_factory=_secure)
    faults: Faults = field(default_factory=Faults)
    seen: list[Seen] = field(default_factory=list)
    objects: Objects = field(init=False)
    logs: Logs = field(init=False)
    resources: Resources = field(init=False)
    authentication: Authentication = field(init=False)

    def __post_init__(self) -> None:
        self.objects = Objects(self.clock, self.ids)
        self.objects.fill(self.state)
        self.authentication = Authentication(self.authenticator, self.clock)
        self.logs = Logs(self.clock)
        for pod in self.state.pods:
            self.logs.fill(pod)
        self.resources = Resources(self.objects, self.logs, self.clock)

    def app(self) -> web.Application:
        """Every path; what is no resource is answered after the same two questions, who and whether they may."""
        steps = [self.faults.middleware, _refusals, self._identify]
        app = web.Application(middlewares=steps, client_max_size=BODY_LIMIT)
        app.on_response_prepare.append(self._record)
        app.on_shutdown.append(self._close)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _record(self, request: web.Request, answer: web.StreamResponse) -> None:
        """When an answer begins, so that one which stays open is there too."""
        user = request.get(_USER)
        self.seen.append(Seen(request.method, request.path_qs, None if user is None else user.name, answer.status))

    async def _close(self, _: web.Application) -> None:
        self.resources.streams.close()

    @web.middleware
    async def _identify(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            request[_USER] = user = await self.authentication.identify(request.headers.get("Authorization", ""))
        except Refused:
            raise unauthorized() from None
        if any(name.lower().startswith("impersonate-") for name in request.headers):
            raise _impersonation(request, user)
        return await handler(request)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        call, user = read(request.method, request.path, request.query), request[_USER]
        # Made anew for each request: a drill changes the bindings while the cluster runs.
        access = Access(self.bindings)
        self._check(access, user, call)
        if call.resource:
            return await self.resources.answer(request, call, user, access)
        return page(request, f"127.0.0.1:{self.listening.port}")

    def _check(self, access: Access, user: User, call: Call) -> None:
        if access.reason(user, call) is None:
            raise forbidden(user.name, call)


def _impersonation(request: web.Request, user: User) -> StatusError:
    """Nobody may: no RoleBinding grants it, since users are at the cluster's own scope."""
    other = request.headers.get("Impersonate-User")
    if other is None:
        return bad_request("requested groups or extras without impersonating a user name")
    return forbidden(user.name, Call("impersonate", request.path, resource="users", name=other))


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except StatusError as problem:
        return refusal(problem)
    except PathUnknown:
        return nothing_here()
    except web.HTTPRequestEntityTooLarge:
        return refusal(too_large(BODY_LIMIT))
