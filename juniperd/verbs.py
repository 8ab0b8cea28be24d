"""What the agent does for our own command line: ``status``, ``login``, ``logout``, ``whoami`` and the like."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from juniperd import __version__, guard
from juniperd.advice import Advice
from juniperd.advice_verbs import AdviceVerbs
from juniperd.broker import Broker
from juniperd.errors import ConfigError, LoginDeclined, ProtocolError
from juniperd.freshness import freshness
from juniperd.issuer_answers import clusters
from juniperd.issuer_client import IssuerClient
from juniperd.job import JobSignIn
from juniperd.leases import Held
from juniperd.login import Checking, CodeShown, LinkShown, LoginEvent, Waiting
from juniperd.model import Clock, rfc3339
from juniperd.probes import Probes
from juniperd.protocols.control import ControlRequest
from juniperd.recall import Recall
from juniperd.session_verbs import SessionVerbs, tell_ended
from juniperd.sessions import Sessions
from juniperd.signin import SignIn
from juniperd.skew import ClockSkew
from juniperd.standing import Forewarned, SignInState
from juniperd.store import Store
from juniperd.upgrade import Upgrade
from juniperd.uses import Uses

Event = Mapping[str, object]
MOST_LOGINS = 64
"""Callers who may wait for a person at once; more would take the places that tools need."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One issuer with everything a verb needs of it."""

    issuer: IssuerClient
    sign_in: SignIn | JobSignIn
    advice: Advice


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What the agent says of itself."""

    socket: str
    config: str
    started_at: float
    store: Store
    skew: ClockSkew
    upgrade: Upgrade
    problem: ConfigError | None = None


@dataclass(frozen=True, slots=True)
class Deeds:
    """What the agent does when it is told to: end, import ahead of need, read the hosts of its configuration anew."""

    stop: Callable[[], Awaitable[None]]
    ahead: Callable[[], None]
    read_hosts: Callable[[], None]


class Verbs:
    """The control requests; each is an iterator of events, the last of which is the result."""

    def __init__(
        self,
        desks: Mapping[str, Desk],
        broker: Broker,
        *,
        sessions: Sessions,
        uses: Uses,
        facts: AgentFacts,
        clock: Clock,
        deeds: Deeds,
    ) -> None:
        self._deeds = deeds
        self._desks = desks
        self._broker = broker
        self._clock = clock
        self._facts = facts
        self._logins = 0
        self._forewarned = Forewarned()
        self._sessions = SessionVerbs(sessions, self._desk)
        self._verbs: Mapping[str, Callable[[ControlRequest], AsyncGenerator[Event, None]]] = {
            "ping": self._ping,
            "status": self._status,
            "warnings": self._warnings,
            "login": self._login,
            "logout": self._logout,
            "lock": self._lock,
            "unlock": self._unlock,
            "whoami": self._whoami,
            "catalogue": self._catalogue,
            "explain": self._explain,
            "parity": self._parity,
            "hosts": self._hosts,
            "down": self._down,
            **self._sessions.verbs,
            **AdviceVerbs(self._desk, self._waiting, _login_event).verbs,
            **Probes(broker, facts.store, self._desk).verbs,
            **Recall(uses, self._chosen, clock=clock, started_at=facts.started_at).verbs,
        }

    def answer(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        """The events of one request."""
        verb = self._verbs.get(request.verb)
        if verb is None:
            msg = f"this agent knows no '{request.verb}'"
            raise ProtocolError(
                msg, "install juniper and juniperd from one release, then run: juniper down; juniper up"
            )
        return verb(request)

    async def settle(self) -> None:
        """Let what a request has begun, and whoever asked no longer waits for, come to its end."""
        await self._sessions.settle()

    async def _ping(self, _request: ControlRequest) -> AsyncGenerator[Event, None]:
        yield _result(version=__version__, pid=os.getpid())

    async def _status(self, _request: ControlRequest) -> AsyncGenerator[Event, None]:
        await self._facts.upgrade.look()
        sign_ins = [
            {**_sign_in(name, await desk.sign_in.state()), "gitlab": desk.advice.person}
            for name, desk in self._desks.items()
        ]
        yield _result(
            agent=self._agent(),
            sign_in=sign_ins[0] if sign_ins else None,
            sign_ins=sign_ins,
            leases=[self._lease(held) for held in self._broker.held()],
            sessions=self._sessions.shown(),
        )

    async def _warnings(self, _request: ControlRequest) -> AsyncGenerator[Event, None]:
        """What a person has to be told now and has not been; a keyring is not asked for it."""
        held = {name: await desk.sign_in.state() for name, desk in self._desks.items() if desk.sign_in.identity}
        due = {name: state for name, state in held.items() if self._forewarned.due(name, state.seconds_left)}
        yield _result(warnings=[{"issuer": name, "text": state.warning} for name, state in due.items()])

    async def _login(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        name, desk = self._desk(request.text("issuer"))
        # The person needs a while to read the code; the exchange's imports need half a second.
        self._deeds.ahead()
        flow, auto = (_flow(request, parameter) for parameter in ("flow", "auto"))
        again = request.parameters.get("again") is True
        with self._waiting():
            events = desk.sign_in.login(identity=request.text("identity"), flow=flow, auto=auto, again=again)
            async with contextlib.aclosing(events):
                async for event in events:
                    yield {"issuer": name, **_login_event(event)}

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Count a caller who waits for a person; no more than :data:`MOST_LOGINS`."""
        if self._logins >= MOST_LOGINS:
            msg = f"{MOST_LOGINS} callers wait for a sign-in already"
            raise LoginDeclined(msg, "complete it, or end one of them")
        self._logins += 1
        try:
            yield
        finally:
            self._logins -= 1

    async def _logout(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        name, desk = self._desk(request.text("issuer"))
        problem = await desk.advice.end()
        notes = await desk.sign_in.logout()
        told = [] if problem is None else [f"the token at GitLab was not revoked: {problem}"]
        yield _result(issuer=name, notes=[*notes, *told])

    async def _lock(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        desks = self._chosen(request)
        gone = self._sessions.at_hand(desks)
        for desk in desks.values():
            desk.advice.drop()
        # All at once: none goes on serving while another one's renewal lands.
        rests = await asyncio.gather(*(desk.sign_in.lock() for desk in desks.values()))
        await tell_ended(gone)
        yield _result(issuers=dict(zip(desks, rests, strict=True)))

    async def _unlock(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        for desk in self._chosen(request).values():
            await desk.sign_in.unlock()
        yield _result(issuers=list(self._chosen(request)))

    async def _whoami(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        name, desk = self._desk(request.text("issuer"))
        state = await desk.sign_in.state()
        shown = _sign_in(name, state)
        if state.state != "signed-in" or state.login is None or state.person is None:
            document = await desk.issuer.catalogue(await desk.sign_in.subject())
            shown = {**_sign_in(name, await desk.sign_in.state()), "user": document.get("user")}
        yield _result(**shown)

    async def _catalogue(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        desks = self._chosen(request)
        issuers = {n: await desk.issuer.catalogue(await desk.sign_in.subject()) for n, desk in desks.items()}
        for name, document in issuers.items():
            self._broker.forget_moved(name, clusters(document))
        yield _result(issuers=issuers)

    async def _explain(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        issuer, _slash, scope = request.need("scope").rpartition("/")
        name, desk = self._desk(request.text("issuer") or issuer or None)
        selected = {n: request.text(n) for n in ("environment", "ref")}
        query = {"scope": scope, **{n: value for n, value in selected.items() if value}}
        verdict = await desk.issuer.explain(await desk.sign_in.subject(), query)
        # What was remembered may be what the person has just had changed.
        self._broker.forgive(name)
        yield _result(**{**verdict, "issuer": name})

    async def _parity(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        issuer, _slash, scope = request.need("scope").rpartition("/")
        name, desk = self._desk(issuer or None)
        selected = {n: request.text(n) for n in ("environment", "ref", "job_environment", "job_ref")}
        query = {"scope": scope, **{n: value for n, value in selected.items() if value}}
        compared = await desk.issuer.parity(await desk.sign_in.subject(), query)
        yield _result(**{**compared, "issuer": name})

    async def _hosts(self, _request: ControlRequest) -> AsyncGenerator[Event, None]:
        """What ``juniper setup docker|git`` has just written counts at once."""
        self._deeds.read_hosts()
        yield _result(hosts={name: sorted(desk.issuer.hosts.registries) for name, desk in self._desks.items()})

    async def _down(self, _request: ControlRequest) -> AsyncGenerator[Event, None]:
        # The door is shut before this is answered, so that "down, up" never meets the agent that goes.
        await self._deeds.stop()
        yield _result(pid=os.getpid())

    def _chosen(self, request: ControlRequest) -> Mapping[str, Desk]:
        """The desk that the request names, else all."""
        wanted = request.text("issuer")
        return self._desks if wanted is None and self._desks else dict([self._desk(wanted)])

    def _desk(self, name: str | None) -> tuple[str, Desk]:
        if self._facts.problem is not None:
            raise self._facts.problem
        if name is None and len(self._desks) == 1:
            return next(iter(self._desks.items()))
        if name is None and self._desks:
            msg = f"several issuers are configured: {', '.join(self._desks)}"
            raise ConfigError(msg, "name one with --issuer")
        if name is None or name not in self._desks:
            msg = f"no issuer '{name}' is configured" if name else "no issuer is configured"
            raise ConfigError(msg)
        return name, self._desks[name]

    def _agent(self) -> Event:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "socket": self._facts.socket,
            "config": self._facts.config,
            "started_at": rfc3339(self._facts.started_at),
            "store": {"kind": self._facts.store.kind, "note": self._facts.store.note},
            "clock_skew": round(self._facts.skew.seconds),
            "clock_note": self._facts.skew.complaint,
            "upgrade_note": self._facts.upgrade.note,
            "guard_note": next(filter(None, (guard.note_on(desk.issuer.url) for desk in self._desks.values())), None),
        }

    def _lease(self, held: Held) -> Event:
        lease, now = held.lease, self._clock()
        state = freshness(
            now=now,
            issued_at=lease.issued_at,
            expires_at=lease.expires_at,
            window=self._broker.window(lease.key.kind),
            jitter=held.jitter,
        )
        return {
            "issuer": lease.key.issuer,
            "scope": lease.key.scope,
            "kind": lease.key.kind,
            "untraded": lease.key.untraded,
            "session": lease.key.session,
            "issued_at": rfc3339(lease.issued_at),
            "expires_at": rfc3339(lease.expires_at),
            "seconds_left": round(lease.expires_at - now),
            "state": state.value,
            "problem": str(held.problem) if held.problem is not None else None,
        }


def _sign_in(issuer: str, state: SignInState) -> dict[str, object]:
    return {
        "issuer": issuer,
        "state": state.state,
        "identity": state.identity,
        "person": state.person,
        "user": {"id": state.user_id, "login": state.login} if state.login else None,
        "bound": state.bound,
        "ends_at": None if state.ends_at is None else rfc3339(state.ends_at),
        "ends_by": state.ends_by,
        "seconds_left": None if state.seconds_left is None else round(state.seconds_left),
        "warning": state.warning,
        "reason": state.reason,
    }


def _flow(request: ControlRequest, name: str) -> str | None:
    value = request.text(name)
    if value not in {None, "browser", "device"}:
        msg = f"parameter '{name}' of {request.verb} is neither browser nor device"
        raise ProtocolError(msg)
    return value


def _login_event(event: LoginEvent) -> Event:
    if isinstance(event, CodeShown):
        return {
            "event": "device_code",
            "verification_uri": event.show.verification_uri,
            "verification_uri_complete": event.show.verification_uri_complete,
            "user_code": event.show.user_code,
            "expires_in": event.show.expires_in,
            "app": event.app,
            "host": event.host,
            "asking_host": socket.gethostname(),
            "identity": event.identity,
        }
    if isinstance(event, LinkShown):
        return {
            "event": "browser",
            "url": event.url,
            "host": event.host,
            "app": event.app,
            "asking_host": socket.gethostname(),
            "identity": event.identity,
            "expires_in": event.expires_in,
            "joined": event.joined,
        }
    if isinstance(event, Waiting):
        return {"event": "waiting"}
    if isinstance(event, Checking):
        return {"event": "checking", "text": "checking with the issuer"}
    return _result(
        person=event.person,
        login=event.login,
        user={"id": event.user_id, "login": event.login},
        identity=event.identity,
        ends_at=event.ends_at,
    )


def _result(**fields: object) -> Event:
    return {"event": "result", **fields}
