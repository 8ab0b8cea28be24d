"""The package on disk against the one that runs: after an upgrade the agent becomes the new one when nobody needs it.

Nothing is polled. When the last caller has left, and somebody may call again, one ``stat`` tells whether the package
changed; it has to lie still for a while, and the new program has to start on trial, before the old one gives way.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import juniperd
from juniperd.journal import Journal
from juniperd.threads import in_thread

PACE = 10.0
"""Seconds between two looks at the disk."""
SETTLE = 5.0
"""Seconds a changed package must lie still: an installer writes it file by file."""
TRIAL_TIME = 30.0
UPGRADED = f"juniperd was upgraded on disk, and this one is still {juniperd.__version__}"

Stamp = tuple[int, int, int]


def package_stamp() -> Stamp:
    """What changes with each installation; the module that holds the version changes with every release."""
    try:
        found = Path(juniperd.__file__).stat()
    except OSError:
        return 0, 0, 0  # the new one may lie elsewhere, as beside another Python; else the trial fails
    return found.st_ino, found.st_mtime_ns, found.st_size


def command() -> list[str]:
    """The program this process was started as, with its interpreter and all."""
    return [sys.executable, *sys.orig_argv[1:]]


def try_successor() -> str:
    """The version of the program on disk, told only by one that loads whole; ``""`` where it does not."""
    try:
        done = subprocess.run(
            [*command(), "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_TIME,
            check=False,
            env=os.environ,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    name, _blank, version = done.stdout.decode(errors="replace").strip().partition(" ")
    return version if done.returncode == 0 and name == "juniperd" else ""


class Upgrade:
    """When this agent is to give way. ``occupied`` says whether anybody waits for something at this moment.

    ``would_lose`` says what would be lost with this process, in words, or ``None``; ``give_way`` ends it for its
    successor. ``note`` is the sentence for ``status``.
    """

    def __init__(
        self,
        *,
        occupied: Callable[[], bool],
        would_lose: Callable[[], Awaitable[str | None]],
        give_way: Callable[[], None],
        journal: Journal,
    ) -> None:
        self._occupied = occupied
        self._would_lose = would_lose
        self._give_way = give_way
        self._journal = journal
        self._running = package_stamp()
        self._tried: Stamp | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._next = 0.0
        self._closed = False
        self.note: str | None = None

    def rested(self) -> None:
        """The last caller has left; costs nothing where a look is due already."""
        if self._timer is None and self._task is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(self._next, loop.time()), self._begin)

    async def look(self) -> Stamp | None:
        """The package on disk where it is not the one that runs."""
        found = await in_thread(package_stamp, name="package")
        if found == self._running:
            self.note = None  # what was begun was undone
            return None
        self.note = self.note or f"{UPGRADED}; it gives way as soon as nobody waits for it"
        return found

    def close(self) -> None:
        """Look no more: who was told to end does not become another one."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        self._next = loop.time() + PACE
        self._task = loop.create_task(self._consider())
        self._task.add_done_callback(self._considered)

    def _considered(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.result()

    async def _consider(self) -> None:
        found = await self.look()
        if found is None:
            return
        if found != self._tried:
            await asyncio.sleep(SETTLE)
            if await self.look() != found or not await self._starts():
                return
            self._tried = found
        loss = await self._would_lose()
        self.note = f"{UPGRADED}; {loss or 'it gives way as soon as nobody waits for it'}"
        if loss is None and not self._occupied():
            self._give_way()

    async def _starts(self) -> bool:
        version = await in_thread(try_successor, name="successor")
        self._journal.note("upgraded", version=version or None, running=juniperd.__version__)
        if not version:
            self.note = f"{UPGRADED}; the new one does not start; reinstall juniperd"
        return bool(version)
