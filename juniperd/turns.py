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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from juniperd.errors import UpstreamUnreachable
from juniperd.model import Secret

TURN_TIME = 24.0
"""Seconds to wait for another agent of this person; longer than a renewal, which may be asked for twice."""
TURN_PACE = 0.05
"""Seconds between two looks at a lock that another process holds."""
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
        lock = _opened(self._path)
        if lock is None:
            yield
            return
        try:
            await _take(lock)
            yield
        finally:
            os.close(lock)

    def go_ahead(self) -> None:
        """Tell the others that this agent has what the keyring did not take; until :meth:`rest`, or this process ends."""
        if self._ahead is None and (lock := _opened(self._beside)) is not None:
            if _locked(lock, fcntl.LOCK_EX):
                self._ahead = lock
            else:
                os.close(lock)

    def rest(self) -> None:
        """Everything is in the keyring."""
        if self._ahead is not None:
            os.close(self._ahead)
            self._ahead = None

    def note(self, key: Secret, token: Secret | None) -> None:
        """Write down, in one's turn, which refresh token of a sign-in is the newest.

        A sign-in is its key, and both stand there as digests, of which nothing is to be learnt.
        """
        if (file := _opened(self._path)) is None:
            return
        try:
            newest = {name: value for name, value in _noted(file).items() if name != _digest(key)}
            if token is not None:
                newest[_digest(key)] = _digest(token)
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps(dict(list(newest.items())[-MOST_NOTES:])).encode(), 0)
        except OSError:
            pass  # a full disk costs what this guards against and no sign-in
        finally:
            os.close(file)

    def is_newest(self, key: Secret, token: Secret) -> bool:
        """Whether no other refresh token was written down since, as far as is known."""
        if (file := _opened(self._path)) is None:
            return True
        try:
            return _noted(file).get(_digest(key)) in {None, _digest(token)}
        finally:
            os.close(file)

    def someone_ahead(self) -> bool:
        """Whether another agent lives that has what the keyring did not take."""
        if self._ahead is not None or (lock := _opened(self._beside)) is None:
            return False
        try:
            return not _locked(lock, fcntl.LOCK_SH)
        finally:
            os.close(lock)

    @property
    def _beside(self) -> Path | None:
        return None if self._path is None else self._path.with_suffix(".ahead")


def _opened(path: Path | None) -> int | None:
    if path is None:
        return None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None


def _digest(secret: Secret) -> str:
    return hashlib.sha256(secret.reveal().encode()).hexdigest()


def _noted(file: int) -> dict[str, object]:
    try:
        found = json.loads(os.pread(file, MOST_NOTES * 200, 0))
    except (ValueError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _locked(lock: int, how: int) -> bool:
    """Lock it now, if nobody is in the way."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _take(lock: int) -> None:
    """Hold the lock until its descriptor is closed; a wait for another process has no event to wait for."""
    loop = asyncio.get_running_loop()
    until = loop.time() + TURN_TIME
    while not _locked(lock, fcntl.LOCK_EX):
        if loop.time() >= until:
            msg = f"another agent of yours has been busy with the sign-in for {TURN_TIME:.0f} s"
            raise UpstreamUnreachable(msg, "run: juniper down, where that one was started")
        await asyncio.sleep(TURN_PACE)
