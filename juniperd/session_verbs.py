"""What the agent does for ``juniper session``: opens, extends, closes and lists debugging sessions at the issuer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from juniperd.errors import ConfigError, JuniperError, SessionOver
from juniperd.identity import SubjectToken
from juniperd.issuer_answers import SESSION_ID
from juniperd.issuer_client import IssuerClient
from juniperd.model import Session, rfc3339
from juniperd.protocols.control import ControlRequest
from juniperd.sessions import TIME_OVER, Listener, Sessions

T = TypeVar("T")
Event = Mapping[str, object]
WARNINGS = (300.0, 60.0)
"""Seconds before its end at which whoever is in a session hears of it."""
LOOK_AGAIN = 30.0
"""Seconds between two looks at the wall clock, which goes on while a laptop sleeps and the loop's does not."""
SHORTEST_PAUSE = 0.05
TELL_TIME = 2.0
"""Seconds to tell issuers that sessions are over, when a person locks or an agent ends."""


class SignedIn(Protocol):
    """The person's sign-in, as far as a session needs it."""

    @property
    def identity(self) -> str | None:
        """What tells this sign-in from every other; ``None`` while nobody is signed in or it is locked."""

    async def subject(self, *, fresh: bool = False) -> SubjectToken:
        """The token to show."""

    def at_hand(self) -> SubjectToken | None:
        """The token in memory, if it still counts."""


class Counter(Protocol):
    """One issuer with the sign-in there."""

    @property
    def issuer(self) -> IssuerClient:
        """The issuer."""

    @property
    def sign_in(self) -> SignedIn:
        """The sign-in."""


Gone = tuple[Counter, SubjectToken | None, str]
"""A session that is over here: its issuer, the token to tell it with where there is one at hand, and its id."""


async def tell_ended(gone: Iterable[Gone]) -> None:
    """Tell the issuers, for a moment; one that cannot be told ends them by its own clock."""

    async def tell(desk: Counter, subject: SubjectToken | None, number: str) -> None:
        with suppress(JuniperError):
            await desk.issuer.close_session(subject or await desk.sign_in.subject(), number)

    with suppress(TimeoutError):
        async with asyncio.timeout(TELL_TIME):
            await asyncio.gather(*(tell(*one) for one in gone))


class SessionVerbs:
    """The control requests about sessions; ``desk`` answers the issuer of a name, or the only one."""

    def __init__(self, sessions: Sessions, desk: Callable[[str | None], tuple[str, Counter]]) -> None:
        self._sessions = sessions
        self._desk = desk
        self._telling: set[asyncio.Task[Any]] = set()
        self.verbs: Mapping[str, Callable[[ControlRequest], AsyncGenerator[Event, None]]] = {
            "session_open": self._open,
            "session_extend": self._extend,
            "session_close": self._close,
            "session_list": self._list,
            "debug": self._debug,
        }

    async def settle(self) -> None:
        """Let what is under way to an issuer arrive there, for a moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TELL_TIME):
                while self._telling:
                    await asyncio.wait(self._telling)

    def at_hand(self, issuers: Collection[str]) -> list[Gone]:
        """The sessions there with what tells their issuer of their end, taken before the tokens go."""
        chosen = [listener.session for listener in self._sessions if listener.session.issuer in issuers]
        desks = [self._desk(session.issuer)[1] for session in chosen]
        return [(desk, desk.sign_in.at_hand(), session.id) for desk, session in zip(desks, chosen, strict=True)]

    def shown(self) -> list[Event]:
        """The sessions served here, for ``status``."""
        return [_shown(listener.session, listener) for listener in self._sessions]

    async def _open(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        listener, refused = await self._opened(request, folder=False)
        yield {"event": "result", **_shown(listener.session, listener), "refused": refused}

    async def _opened(self, request: ControlRequest, *, folder: bool) -> tuple[Listener, list[Event]]:
        """A new session, and the scopes that it was not opened for; whoever hangs up meanwhile leaves none behind."""
        task = self._apart(self._new(request, folder=folder))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._abandon)
            raise

    def _abandon(self, task: asyncio.Task[tuple[Listener, list[Event]]]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._leave(task.result()[0])

    def _apart(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Work that goes on when its caller hangs up."""
        task = asyncio.get_running_loop().create_task(work)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        return task

    async def _new(self, request: ControlRequest, *, folder: bool) -> tuple[Listener, list[Event]]:
        _name, desk = self._desk(request.text("issuer"))
        asked = {
            "project": request.need("project"),
            "environment": request.need("environment"),
            "ref": request.text("ref"),
            "scopes": request.texts("scopes"),
            "seconds": request.seconds("seconds"),
            "claimed_reason": request.text("reason"),
            "claimed_host": socket.gethostname() or None,
        }
        subject, identity = await desk.sign_in.subject(), desk.sign_in.identity
        opened, left_out = await desk.issuer.open_session(subject, asked)
        try:
            listener = await self._begun(opened, desk.sign_in, identity, folder=folder)
        except Exception:
            # Nobody here could use it, so it must not stay open there, whatever it was that failed.
            await tell_ended([(desk, subject, opened.id)])
            raise
        refused: list[Event] = [{"scope": one.scope, "text": one.text} for one in left_out]
        return listener, refused

    async def _begun(self, opened: Session, sign_in: SignedIn, identity: str | None, *, folder: bool) -> Listener:
        """Its listener, where the sign-in is still the same one, also once the socket is there."""
        _check_same(opened, sign_in, identity)
        listener = await self._sessions.begin(opened, folder=folder)
        try:
            _check_same(opened, sign_in, identity)
        except SessionOver:
            await self._sessions.finish(opened.id)
            raise
        return listener

    async def _debug(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        """A session that lasts no longer than whoever asked for it stays; what happens to it is told as it happens."""
        listener, refused = await self._opened(request, folder=True)
        number = listener.session.id
        try:
            yield {
                "event": "opened",
                **_shown(listener.session, listener),
                "refused": refused,
                "folder": str(listener.folder),
            }
            async for event in self._told(listener):
                yield event
        finally:
            self._leave(listener)
        yield {"event": "result", "id": number, "cause": listener.cause}

    async def _told(self, listener: Listener) -> AsyncGenerator[Event, None]:
        """A warning at each of :data:`WARNINGS`, and every end that is set anew, until it is over."""
        ends_at, due = listener.session.ends_at, self._sessions.left(listener)
        while (left := self._sessions.left(listener)) > 0:
            if listener.session.ends_at != ends_at:
                ends_at, due = listener.session.ends_at, left
                yield {"event": "moved", "ends_at": rfc3339(ends_at)}
            passed = [seconds for seconds in WARNINGS if left <= seconds < due]
            if passed:
                due = min(passed)
                yield {"event": "left", "seconds": round(left)}
            pause = min(left - max((s for s in WARNINGS if s < left), default=0), LOOK_AGAIN)
            with suppress(TimeoutError):
                await asyncio.wait_for(listener.changed.wait(), max(pause, SHORTEST_PAUSE))

    def _leave(self, listener: Listener) -> None:
        """Whoever asked for it is gone, and so it ends, here at once and at the issuer behind it."""
        session = listener.session
        if self._sessions.find(session.id) is None:
            return
        _name, desk = self._desk(session.issuer)
        gone = (desk, desk.sign_in.at_hand(), session.id)
        over = self._sessions.left(listener) <= 0
        self._sessions.end(session.id, TIME_OVER if over else "its shell or command ended")
        self._apart(tell_ended([gone]))

    async def _extend(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        listener = self._here(request)
        # Whoever hangs up meanwhile may have moved the end there, and it is to be the same here.
        await asyncio.shield(self._apart(self._extended(listener, request.seconds("seconds"))))
        yield {"event": "result", **_shown(listener.session, listener)}

    async def _extended(self, listener: Listener, seconds: float) -> None:
        """Its new end; a session that is over here by then is not left open at the issuer for nobody."""
        session = listener.session
        _name, desk = self._desk(session.issuer)
        extended = await desk.issuer.extend_session(await desk.sign_in.subject(), session.id, seconds)
        if self._sessions.find(session.id) is not listener:
            await tell_ended([(desk, None, session.id)])
            msg = "the session ended while it was extended"
            raise SessionOver(msg, session.again)
        self._sessions.extend(listener, extended.ends_at)

    async def _close(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        named = request.text("session")
        listener = self._sessions.find(named) if named else self._here(request)
        issuer = listener.session.issuer if listener else request.text("issuer")
        number = listener.session.id if listener else _elsewhere(request.need("session"))
        # A terminal that is closed takes whoever asks along, and the issuer is to hear of it all the same.
        await asyncio.shield(self._apart(self._closed(number, issuer)))
        yield {"event": "result", "id": number}

    async def _closed(self, number: str, issuer: str | None) -> None:
        # Whatever the issuer says, nothing is served here any more.
        await self._sessions.finish(number)
        _name, desk = self._desk(issuer)
        await desk.issuer.close_session(await desk.sign_in.subject(), number)

    async def _list(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        _name, desk = self._desk(request.text("issuer"))
        rows = await desk.issuer.sessions(await desk.sign_in.subject())
        yield {"event": "result", "sessions": [self._row(row) for row in rows]}

    def _row(self, row: Mapping[str, object]) -> Event:
        listener = self._sessions.find(str(row.get("id")))
        kept = {name: row.get(name) for name in ("id", "project", "environment", "ref", "scopes")}
        ends_at = row.get("ends_at")
        moment = rfc3339(ends_at) if isinstance(ends_at, int | float) else None
        return {**kept, "ends_at": moment, "socket": str(listener.path) if listener else None}

    def _here(self, request: ControlRequest) -> Listener:
        """The session that a request means: the one named, else the only one there is."""
        named = request.text("session")
        if named:
            found = self._sessions.find(named)
            if found is None:
                msg = "there is no such session on this laptop"
                raise SessionOver(msg, "run: juniper session list")
            return found
        listeners = list(self._sessions)
        if len(listeners) == 1:
            return listeners[0]
        if not listeners:
            msg = "no session is open on this laptop"
            raise SessionOver(msg)
        msg = "several sessions are open on this laptop"
        raise ConfigError(msg, "name one; run: juniper session list")


def _check_same(opened: Session, sign_in: SignedIn, identity: str | None) -> None:
    if identity is None or sign_in.identity != identity:
        msg = "the sign-in was locked or changed while the session was opened"
        raise SessionOver(msg, opened.again)


def _elsewhere(named: str) -> str:
    """The id of a session that another laptop opened; a socket of ours that is gone names one that has ended."""
    if SESSION_ID.fullmatch(named):
        return named
    msg = "the debugging session has ended" if "/" in named else "there is no such session"
    raise SessionOver(msg, "run: juniper session list")


def _shown(session: Session, listener: Listener) -> dict[str, object]:
    return {
        "id": session.id,
        "issuer": session.issuer,
        "project": session.project,
        "environment": session.environment,
        "ref": session.ref,
        "scopes": list(session.scopes),
        "ends_at": rfc3339(session.ends_at),
        "socket": str(listener.path),
    }
