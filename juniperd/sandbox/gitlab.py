"""The sandbox's GitLab: the REST v4 endpoints that an issuer asks, with GitLab's statuses, bodies and paging.

Beside them it is an OpenID provider (`gitlab_sign_in`), for the issuer's link page and for jobs, and gives people tokens
of their own (`gitlab_device`), with which they reach what a laptop needs of it: their projects and the dry run.
"""

from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import web

from juniperd.sandbox.ci_jobs import Jobs
from juniperd.sandbox.faults import Faults, Handler
from juniperd.sandbox.gitlab_basic_auth import BasicAuth
from juniperd.sandbox.gitlab_ci import CiApi
from juniperd.sandbox.gitlab_deploy_tokens import DeployTokens
from juniperd.sandbox.gitlab_device import PeoplesTokens
from juniperd.sandbox.gitlab_git import GitRepositories
from juniperd.sandbox.gitlab_paging import paged
from juniperd.sandbox.gitlab_registry import RegistryTokens
from juniperd.sandbox.gitlab_shapes import (
    CREATED,
    environment_row,
    group_row,
    member_row,
    project_row,
    protected_branch_row,
    protected_environment_row,
    protected_tag_row,
    ref_row,
    user_row,
)
from juniperd.sandbox.gitlab_sign_in import GitLabSignIn
from juniperd.sandbox.idp_grants import Clock
from juniperd.sandbox.listening import Double, Listening
from juniperd.sandbox.world import LEVELS, Group, Place, Project, ProtectedRef, Unknown, User, World

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
_PEOPLES: Final = re.compile(r"/api/v4/(?:user|version|metadata|projects/[^/]+(?:/ci/lint|/jobs/\d+)?)")
"""What a person's own token is answered here; GitLab answers more."""


@dataclass(frozen=True, slots=True)
class ReaderToken:
    """A personal access token and the account it belongs to."""

    value: str
    username: str = "juniper-reader"
    scopes: tuple[str, ...] = ("read_api",)
    expires_at: str = "2099-01-01"
    person: bool = False
    """Whether it is a person's own, who sees the projects that they are a member of."""


CALLER = web.RequestKey("caller", ReaderToken)
"""The token a request to the API came with."""


@dataclass(slots=True)
class GitLabDouble(Double):
    """GitLab over one `World`; change the world and the next answer says so.

    `minter` is the one further token that it knows: the account that makes deploy tokens. Without `git_folder` it
    has no Git.
    """

    world: World
    token: ReaderToken
    licensed: bool = True
    asked: list[str] = field(default_factory=list)
    listening: Listening = field(default_factory=Listening.reserve)
    faults: Faults = field(default_factory=Faults)
    clock: Clock = time.time
    minter: ReaderToken | None = None
    git_folder: Path | None = None
    people: PeoplesTokens = field(init=False)
    sign_in: GitLabSignIn = field(init=False)
    jobs: Jobs = field(init=False)
    deploy_tokens: DeployTokens = field(init=False)
    basic: BasicAuth = field(init=False)
    registry_tokens: RegistryTokens = field(init=False)

    def __post_init__(self) -> None:
        self.people = PeoplesTokens(self.world, self.url, self.clock)
        self.sign_in = GitLabSignIn(self.world, self.url, self.clock, self.people)
        self.jobs = Jobs(self.world, self.clock)
        self.deploy_tokens = DeployTokens(self._managed_project, self.clock)
        self.basic = BasicAuth(self.deploy_tokens, self.clock)
        self.registry_tokens = RegistryTokens(self.world, self.url, self.basic, self.clock)

    def app(self) -> web.Application:
        """The API under /api/v4, and the sign-in beside it."""
        app = web.Application(middlewares=[self._record, self.faults.middleware, self._authenticate, _lookup_errors])
        routes: dict[str, Answer] = {
            "/version": self._version,
            "/metadata": self._version,
            "/personal_access_tokens/self": self._token_self,
            "/user": self._user_self,
            "/users": self._users,
            "/users/{user_id}": self._user,
            "/projects/{id}": self._project,
            "/projects/{id}/groups": self._project_groups,
            "/projects/{id}/members/all": self._project_members,
            "/projects/{id}/members/all/{user_id}": self._project_member,
            "/projects/{id}/members/{user_id}": self._direct_member,
            "/projects/{id}/protected_branches": self._protected_branches,
            "/projects/{id}/protected_tags": self._protected_tags,
            "/projects/{id}/protected_environments": self._protected_environments,
            "/projects/{id}/environments": self._environments,
            "/projects/{id}/repository/branches": self._branches,
            "/projects/{id}/repository/tags": self._tags,
            "/groups/{id}": self._group,
            "/groups/{id}/members/all/{user_id}": self._group_member,
            "/groups/{id}/members/{user_id}": self._direct_member,
            "/groups/{id}/protected_environments": self._protected_environments,
        }
        routes |= CiApi(self.world, self.jobs, self.url, self.clock, self._project_of, self._me).routes()
        app.add_routes([web.get(f"/api/v4{path}", answer) for path, answer in routes.items()])
        app.add_routes(self.deploy_tokens.routes())
        app.add_routes(self.registry_tokens.routes())
        app.add_routes(self.sign_in.routes())
        if self.git_folder is not None:
            git = GitRepositories(self.world, self.url, self.basic, self.git_folder)
            app.on_startup.append(git.make)
            app.add_routes(git.routes())
        return app

    @property
    def minter_secret(self) -> str:
        """The token of the account that makes deploy tokens, where there is one."""
        return "" if self.minter is None else self.minter.value

    def _me(self, request: web.Request) -> User:
        return self.world.user(request[CALLER].username)

    @web.middleware
    async def _record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        return await handler(request)

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/api/"):
            return await handler(request)
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        given = request.headers.get("PRIVATE-TOKEN", bearer)
        known = (self.token,) if self.minter is None else (self.token, self.minter)
        caller = next((token for token in known if hmac.compare_digest(given.encode(), token.value.encode())), None)
        caller = caller or self._person(bearer)
        if caller is None:
            return web.json_response({"message": "401 Unauthorized"}, status=401)
        if caller.person and not _PEOPLES.fullmatch(request.rel_url.raw_path):
            return web.json_response({"message": "403 Forbidden"}, status=403)
        if not {"api", "read_api"} & set(caller.scopes):
            return web.json_response(_insufficient("api read_api"), status=403)
        request[CALLER] = caller
        return await handler(request)

    def _person(self, token: str) -> ReaderToken | None:
        """The person's own token, while their account is active."""
        username = self.people.username(token)
        active = username is not None and self.world.user(username).state == "active"
        return ReaderToken(token, username, person=True) if username is not None and active else None

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "18.4.1-ee", "revision": "0123456789a", "enterprise": True})

    async def _token_self(self, request: web.Request) -> web.Response:
        caller = request[CALLER]
        row = {
            "id": 1,
            "name": caller.username,
            "revoked": False,
            "created_at": CREATED,
            "description": "",
            "scopes": list(caller.scopes),
            "user_id": self._me(request).id,
            "last_used_at": CREATED,
            "active": True,
            "expires_at": caller.expires_at,
        }
        return web.json_response(row)

    async def _user_self(self, request: web.Request) -> web.Response:
        return web.json_response(user_row(self._me(request), self.url, to_admin=self._me(request).is_admin))

    async def _users(self, request: web.Request) -> web.Response:
        uid, provider = request.query.get("extern_uid"), request.query.get("provider")
        if (uid is None) != (provider is None):
            missing = "provider" if provider is None else "extern_uid"
            return web.json_response({"error": f"{missing} is missing"}, status=400)
        if uid is not None and not self._me(request).is_admin:
            return web.json_response({"message": "403 Forbidden"}, status=403)
        found = self.world.users
        if uid is not None:
            found = [user for user in found if user.extern_uid == uid and provider == "oidc"]
        if "username" in request.query:
            found = [user for user in found if user.username.lower() == request.query["username"].lower()]
        return paged(request, [user_row(user, self.url, to_admin=self._me(request).is_admin) for user in found])

    async def _user(self, request: web.Request) -> web.Response:
        user = self._user_of(request)
        return web.json_response(user_row(user, self.url, to_admin=self._me(request).is_admin))

    def _user_of(self, request: web.Request, problem: str = "404 User Not Found") -> User:
        given = request.match_info["user_id"]
        try:
            return self.world.user(int(given) if given.isdecimal() else -1)
        except Unknown:
            raise _NotFoundError(problem) from None

    def _project_of(self, request: web.Request) -> Project:
        given = request.match_info["id"]
        for project in self.world.projects:
            if given in (str(project.id), project.path) and self._sees(request, project):
                return project
            if given == project.moved_from:
                raise web.HTTPMovedPermanently(request.path.replace(given, str(project.id), 1))
        raise _NotFoundError("404 Project Not Found")

    def _sees(self, request: web.Request, project: Project) -> bool:
        """Whether a person is a member of it, and so would see it; the issuer's reader sees all."""
        place = Place("project", project.id)
        return not request[CALLER].person or self.world.effective(place, self._me(request).id) is not None

    def _managed_project(self, request: web.Request) -> Project:
        """The project, for a Maintainer of it with the scope `api`: nobody else comes near its deploy tokens.

        GitLab would let an administrator do it too, and a reader look; the sandbox's reader is to do neither.
        """
        project, caller = self._project_of(request), request[CALLER]
        if "api" not in caller.scopes:
            raise _forbidden(_insufficient("api"))
        member = self.world.effective(Place("project", project.id), self._me(request).id)
        if member is None:
            raise _NotFoundError("404 Project Not Found")
        if member.access_level < LEVELS["maintainer"]:
            raise _forbidden({"message": "403 Forbidden"})
        return project

    def _group_of(self, request: web.Request) -> Group:
        given = request.match_info["id"]
        for group in self.world.groups:
            if given in (str(group.id), group.path):
                return group
        raise _NotFoundError("404 Group Not Found")

    def _place_of(self, request: web.Request) -> Place:
        if request.path.startswith("/api/v4/projects/"):
            return Place("project", self._project_of(request).id)
        return Place("group", self._group_of(request).id)

    async def _project(self, request: web.Request) -> web.Response:
        return web.json_response(project_row(self._project_of(request), self.world, self.url))

    async def _project_groups(self, request: web.Request) -> web.Response:
        groups = self.world.ancestors(self._project_of(request).group_id)
        return paged(request, [group_row(group, self.url) for group in groups])

    async def _group(self, request: web.Request) -> web.Response:
        return web.json_response(group_row(self._group_of(request), self.url))

    async def _project_member(self, request: web.Request) -> web.Response:
        return self._member(request, self._place_of(request))

    async def _project_members(self, request: web.Request) -> web.Response:
        place = self._place_of(request)
        found = ((self.world.effective(place, user.id), user) for user in self.world.users)
        return paged(request, [member_row(member, user, self.url) for member, user in found if member is not None])

    async def _group_member(self, request: web.Request) -> web.Response:
        return self._member(request, self._place_of(request))

    def _member(self, request: web.Request, place: Place) -> web.Response:
        user = self._user_of(request, "404 Not found")
        member = self.world.effective(place, user.id)
        if member is None:
            raise _NotFoundError("404 Not found")
        return web.json_response(member_row(member, user, self.url))

    async def _direct_member(self, request: web.Request) -> web.Response:
        place, user = self._place_of(request), self._user_of(request, "404 Not found")
        for member in self.world.members:
            if member.place == place and member.user_id == user.id:
                return web.json_response(member_row(member, user, self.url))
        raise _NotFoundError("404 Not found")

    def _protections(self, request: web.Request, kind: str) -> list[tuple[ProtectedRef, bool]]:
        here, *above = self.world.places(Place("project", self._project_of(request).id))
        own = [(ref, False) for ref in self.world.protected_refs if ref.kind == kind and ref.place == here]
        return own + [(ref, True) for ref in self.world.protected_refs if ref.kind == kind and ref.place in above]

    async def _protected_branches(self, request: web.Request) -> web.Response:
        rows = enumerate(self._protections(request, "branch"), 1)
        return paged(request, [protected_branch_row(ref, at, inherited=above) for at, (ref, above) in rows])

    async def _protected_tags(self, request: web.Request) -> web.Response:
        return paged(request, [protected_tag_row(ref) for ref, _ in self._protections(request, "tag")])

    async def _protected_environments(self, request: web.Request) -> web.Response:
        place = self._place_of(request)
        if not self.licensed:
            raise _NotFoundError("404 Not Found")
        rows = [row for row in self.world.protected_environments if row.place == place]
        return paged(request, [protected_environment_row(row) for row in rows])

    async def _environments(self, request: web.Request) -> web.Response:
        project, name, search = self._project_of(request), request.query.get("name"), request.query.get("search")
        if name is not None and search is not None:
            return web.json_response({"error": "name, search are mutually exclusive"}, status=400)
        if search is not None and len(search) < 3:
            body = {"message": "400 Bad request - Search query is less than 3 characters"}
            return web.json_response(body, status=400)
        rows = [row for row in self.world.environments if row.project_id == project.id]
        rows = [row for row in rows if name in (None, row.name) and (search or "") in row.name]
        if "states" in request.query:
            rows = [row for row in rows if row.state == request.query["states"]]
        return paged(request, [environment_row(row) for row in rows])

    async def _branches(self, request: web.Request) -> web.Response:
        names = self._project_of(request).branches
        return paged(request, [ref_row(name) for name in _search_refs(names, request.query.get("search"))])

    async def _tags(self, request: web.Request) -> web.Response:
        names = self._project_of(request).tags
        return paged(request, [ref_row(name) for name in _search_refs(names, request.query.get("search"))])


def _insufficient(scope: str) -> dict[str, str]:
    return {
        "error": "insufficient_scope",
        "error_description": "The request requires higher privileges than provided by the access token.",
        "scope": scope,
    }


def _forbidden(body: dict[str, str]) -> web.HTTPForbidden:
    return web.HTTPForbidden(text=json.dumps(body), content_type="application/json")


class _NotFoundError(Exception):
    """GitLab's 404 with this message; it also means "you may not see it"."""


@web.middleware
async def _lookup_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except _NotFoundError as problem:
        return web.json_response({"message": str(problem)}, status=404)
    except web.HTTPNotFound as problem:
        if problem.content_type == "application/json":
            raise  # an endpoint's own, not the router's
        return web.json_response({"error": "404 Not Found"}, status=404)


def _search_refs(names: tuple[str, ...], search: str | None) -> list[str]:
    """GitLab's branch and tag search: `^`, `$` and `*` are operators, all else is literal, case does not matter."""
    if not search:
        return sorted(names)
    pattern = re.escape(search.lower()).replace(r"\^", "^", 1).replace(r"\*", ".*?").replace(r"\$", "$", 1)
    return sorted(name for name in names if re.search(pattern, name.lower()))
