"""Debugging sessions on this laptop: a socket each, whose scopes, narrowing and end are its own.

Tools inside a session reach that socket and no other. What it serves is in the session, whatever a request says; when
the session ends the socket is gone, and the credentials with it. The issuer keeps the session and its clock; here is
only the way to it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from juniperd import door
from juniperd.broker import Broker
from juniperd.door import Door
from juniperd.errors import GrantRefused, SessionOver, StateError, TargetUnknown
from juniperd.leases import Held
from juniperd.model import Clock, CredentialRequest, Rejection, Session
from juniperd.server import Lender, Server

SOCKETS = "session-*.sock"
FOLDERS = "session-*.d"
TIME_OVER = "its time is over"
LOOK_AGAIN = 30.0
"""Seconds between two looks at the wall clock, which goes on while a laptop sleeps and the loop's does not."""
OVER = frozenset({"session_ended", "session_unknown", "session_elsewhere"})
"""The issuer's words for a session that is none any more."""


class SessionLender:
    """The broker as one session sees it: within its scopes, its narrowing and its time."""

    def __init__(self, broker: Lender, session: Session, *, clock: Clock, over: Callable[[], None]) -> None:
        self.session = session
        self._broker = broker
        self._clock = clock
        self._over = over

    def warm(self, request: CredentialRequest) -> Held | None:
        """What can be answered at once."""
        return self._broker.warm(self._within(request))

    async def lease(self, request: CredentialRequest, *, program: str = "") -> Held:
        """What has to be waited for; where the issuer has ended the session, it is over here too."""
        try:
            return await self._broker.lease(self._within(request), program=program)
        except GrantRefused as error:
            if error.reason in OVER:
                self._over()
            raise

    async def reject(self, rejection: Rejection) -> None:
        """What a tool of this session showed was not taken."""
        await self._broker.reject(replace(rejection, request=self._within(rejection.request)))

    def _within(self, request: CredentialRequest) -> CredentialRequest:
        session = self.session
        if self._clock() >= session.ends_at:
            msg = "the debugging session has ended"
            raise SessionOver(msg, session.again)
        if request.issuer not in {None, session.issuer}:
            msg = f"this session is at issuer '{session.issuer}', not at '{request.issuer}'"
            raise TargetUnknown(msg, "leave the session; run: unset JUNIPER_SESSION_SOCKET")
        if request.scope and request.scope not in session.scopes:
            msg = f"scope '{request.scope}' is not of this session, which has {', '.join(session.scopes)}"
            raise TargetUnknown(msg, f"{session.again} --scope {request.scope}")
        return replace(
            request,
            issuer=session.issuer,
            session=session.id,
            environment=session.environment,
            ref=session.ref,
            among=session.scopes,
        )


class Serve(Protocol):
    """Makes the server of one session, which has begun to answer when this returns."""

    async def __call__(self, door: Door, lender: Lender) -> Server:
        """Serve ``lender`` at ``door``."""


@dataclass(slots=True)
class Listener:
    """One session with its socket."""

    lender: SessionLender
    server: Server
    path: Path
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    shut: asyncio.Event = field(default_factory=asyncio.Event)
    folder: Path | None = None
    """What tools of this session are configured by; it goes with the session."""
    cause: str = ""
    watch: asyncio.Task[None] | None = None

    @property
    def session(self) -> Session:
        """The session as it stands."""
        return self.lender.session


class Sessions:
    """The sessions that this agent serves; ``folder`` is that of its own socket."""

    def __init__(self, folder: Path, serve: Serve, broker: Broker, *, clock: Clock) -> None:
        self._folder = folder
        self._serve = serve
        self._broker = broker
        self._clock = clock
        self._listeners: dict[str, Listener] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False
        door.sweep(folder, SOCKETS)
        self._sweep()

    def __iter__(self) -> Iterator[Listener]:
        return iter(tuple(self._listeners.values()))

    def find(self, name: str) -> Listener | None:
        """The one of that id, or at that socket."""
        return next((one for one in self if name in {one.session.id, str(one.path)}), None)

    async def begin(self, session: Session, *, folder: bool = False) -> Listener:
        """Serve a session at a socket of its own, until its end; with a private ``folder`` for its tools' files."""
        self._check_open(session)
        self._sweep()
        path = self._folder / SOCKETS.replace("*", session.id[:12])
        lender = SessionLender(
            self._broker, session, clock=self._clock, over=lambda: self.end(session.id, "the issuer ended it")
        )
        # The folder first: a disk that is full or read-only says so before anybody listens.
        made = _made(path.with_suffix(".d")) if folder else None
        try:
            server = await self._serve(door.open_session_door(path), lender)
        except BaseException:
            if made is not None:
                shutil.rmtree(made, ignore_errors=True)
            raise
        listener = Listener(lender, server, path, folder=made)
        self._listeners[session.id] = listener
        self._broker.begin_session(session.id)
        listener.watch = asyncio.get_running_loop().create_task(self._watch(listener))
        try:
            # It may have been closed while the socket was made, and knew of no session then.
            self._check_open(session)
        except SessionOver:
            await self.finish(session.id)
            raise
        return listener

    def _check_open(self, session: Session) -> None:
        if self._closed:
            msg = "the agent ended while the session was opened"
            raise SessionOver(msg, session.again)

    def extend(self, listener: Listener, ends_at: float) -> None:
        """The session's end was moved."""
        listener.lender.session = replace(listener.session, ends_at=ends_at)
        listener.changed.set()

    def left(self, listener: Listener) -> float:
        """Seconds until its end; none once it is over."""
        return listener.session.ends_at - self._clock() if listener.session.id in self._listeners else 0.0

    def end(self, number: str, cause: str = "ended") -> None:
        """Drop its credentials at once, with its folder, and shut its socket; once it is over nothing happens."""
        listener = self._listeners.pop(number, None)
        if listener is None:
            return
        self._broker.end_session(number)
        listener.cause = cause
        if listener.folder is not None:
            shutil.rmtree(listener.folder, ignore_errors=True)
        listener.changed.set()
        leaving = asyncio.get_running_loop().create_task(_leave(listener))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def finish(self, number: str) -> None:
        """:meth:`end` it; its socket is gone when this returns."""
        listener = self._listeners.get(number)
        self.end(number)
        if listener is not None:
            await listener.shut.wait()

    def end_all(self, issuer: str) -> None:
        """The sign-in at that issuer changed or ended, and its sessions with it."""
        for listener in self:
            if listener.session.issuer == issuer:
                self.end(listener.session.id, "the sign-in was locked, changed or ended")

    async def close(self) -> None:
        """End all of them; what is being opened is served no more."""
        self._closed = True
        watches = [one.watch for one in self if one.watch is not None]
        for listener in self:
            self.end(listener.session.id, "the agent ended")
        for task in watches:
            task.cancel()
        await asyncio.gather(*self._leaving, *watches, return_exceptions=True)

    def _sweep(self) -> None:
        """Take away folders without a session: a killed agent's, or what a tool in a shell wrote after its session's end."""
        for left in self._folder.glob(FOLDERS):
            if not left.with_suffix(".sock").exists():
                shutil.rmtree(left, ignore_errors=True)

    async def _watch(self, listener: Listener) -> None:
        while listener.session.id in self._listeners:
            left = listener.session.ends_at - self._clock()
            if left <= 0:
                self.end(listener.session.id, TIME_OVER)
                return
            listener.changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(listener.changed.wait(), min(left, LOOK_AGAIN))


def _made(folder: Path) -> Path:
    """A new folder that is ours alone; one that lies there is another's, whatever it holds."""
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        msg = f"the session's folder {folder} cannot be made ({error.strerror})"
        raise StateError(msg, f"check the space and the permissions of {folder.parent}") from None
    return folder


async def _leave(listener: Listener) -> None:
    """Let nobody in any more; those inside hear of the end, and are not cut off in the middle of an answer."""
    await listener.server.shut()
    listener.shut.set()
    await listener.server.drain()
