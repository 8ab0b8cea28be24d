"""Several agents of one person before one keyring: each in its turn, and none with a token that another one has spent.

A shell without ``XDG_RUNTIME_DIR`` finds another socket, and the agent that it starts finds the same keyring. What they
agree by is a file that they lock; the kernel gives a lock back whatever becomes of its holder.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import pwd
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from juniperd.errors import UpstreamUnreachable
from juniperd.model import Secret
from juniperd.threads import in_thread

T = TypeVar("T")

TURN_TIME = 24.0
"""Seconds to wait for another agent of this person; longer than a renewal, which may be asked for twice."""
TURN_PACE = 0.05
"""Seconds between two looks at a lock that another process holds."""
HOME_TIME = 3.0
"""Seconds for a home on a slow disk; an agent that cannot have it in time goes on alone."""
MOST_NOTES = 50
"""Sign-ins of which the newest token is known; an older one than these is none that anybody goes on with."""


class Turns:
    """The lock at ``path`` and one beside it; without a path, or where it cannot be made, each agent is on its own."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._ahead: int | None = None

    @classmethod
    def of_user(cls) -> Turns:
        """One place per user, whatever a shell's environment says of home and runtime folders."""
        try:
            home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        except KeyError:
            return cls(None)
        return cls(home / ".local" / "state" / "juniper" / "sign-in.lock")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Alone with the keyring: a refresh token may be spent only once."""
        lock = await self._taken()
        try:
            yield
        finally:
            if lock is not None:
                os.close(lock)

    async def go_ahead(self) -> None:
        """Tell the others that this agent has what the keyring did not take; until :meth:`rest`, or this process ends."""
        if self._ahead is None:
            self._ahead = await _soon_locked(self._beside)

    def rest(self) -> None:
        """Everything is in the keyring."""
        if self._ahead is not None:
            os.close(self._ahead)
            self._ahead = None

    async def note(self, key: Secret, token: Secret | None) -> None:
        """Write down, in one's turn, which refresh token of a sign-in is the newest.

        A sign-in is its key, and both stand there as digests, of which nothing is to be learnt.
        """
        digests = _digest(key), None if token is None else _digest(token)
        await _soon(lambda: _write_down(self._path, *digests), otherwise=None)

    async def is_newest(self, key: Secret, token: Secret) -> bool:
        """Whether no other refresh token was written down since, as far as is known."""
        nothing: dict[str, str] = {}
        noted = await _soon(lambda: _noted(self._path), otherwise=nothing)
        return noted.get(_digest(key)) in {None, _digest(token)}

    async def someone_ahead(self) -> bool:
        """Whether another agent lives that has what the keyring did not take."""
        return self._ahead is None and await _soon(lambda: _is_locked(self._beside), otherwise=False)

    async def _taken(self) -> int | None:
        """The lock, which another process may have; a wait for it has no event to wait for."""
        loop = asyncio.get_running_loop()
        until = loop.time() + TURN_TIME
        while True:
            try:
                return await _soon_locked(self._path)
            except BlockingIOError:
                if loop.time() >= until:
                    msg = f"another agent of yours has been busy with the sign-in for {TURN_TIME:.0f} s"
                    raise UpstreamUnreachable(msg, "run: juniper down, where that one was started") from None
                await asyncio.sleep(TURN_PACE)

    @property
    def _beside(self) -> Path | None:
        return None if self._path is None else self._path.with_suffix(".ahead")


# --- in a thread, for a home may lie on a disk that is slow or gone ---------------------------------------------------


async def _soon(call: Callable[[], T], *, otherwise: T) -> T:
    """What ``call`` says in time."""
    try:
        return await asyncio.wait_for(in_thread(call, name="turn"), HOME_TIME)
    except TimeoutError:
        return otherwise


async def _soon_locked(path: Path | None) -> int | None:
    """The lock, as :func:`_locked` has it; one that comes too late is let go of."""
    locking = asyncio.ensure_future(in_thread(lambda: _locked(path), name="turn"))
    try:
        return await asyncio.wait_for(asyncio.shield(locking), HOME_TIME)
    except TimeoutError:
        locking.add_done_callback(_let_go)
        return None
    except asyncio.CancelledError:
        locking.add_done_callback(_let_go)
        raise


def _let_go(locking: asyncio.Future[int | None]) -> None:
    lock = None if locking.cancelled() or locking.exception() else locking.result()
    if lock is not None:
        os.close(lock)


def _locked(path: Path | None) -> int | None:
    """The lock, held until it is closed; :class:`BlockingIOError` where another process has it.

    ``None`` where a home cannot be written or knows no locks, and then each agent is on its own.
    """
    if (lock := _opened(path)) is None:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return lock


def _is_locked(path: Path | None) -> bool:
    """Whether a living process holds it; a look keeps nobody from it."""
    if (lock := _opened(path)) is None:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
    return False


def _opened(path: Path | None) -> int | None:
    if path is None:
        return None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None


def _noted(path: Path | None) -> dict[str, str]:
    if (file := _opened(path)) is None:
        return {}
    try:
        return _read(file)
    finally:
        os.close(file)


def _write_down(path: Path | None, key: str, token: str | None) -> None:
    if (file := _opened(path)) is None:
        return
    try:
        newest = {name: value for name, value in _read(file).items() if name != key}
        if token is not None:
            newest[key] = token
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(dict(list(newest.items())[-MOST_NOTES:])).encode(), 0)
    except OSError:
        pass  # a full disk costs what this guards against and no sign-in
    finally:
        os.close(file)


def _read(file: int) -> dict[str, str]:
    try:
        found = json.loads(os.pread(file, MOST_NOTES * 200, 0))
    except (ValueError, OSError, RecursionError):
        return {}
    kept = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in kept if isinstance(value, str)}


def _digest(secret: Secret) -> str:
    return hashlib.sha256(secret.reveal().encode()).hexdigest()
