"""When a person is told on their desktop that a tool needs a sign-in, or that theirs will end soon: seldom.

A helper never waits for a person and opens no browser, and what it says may be seen by nobody: an editor runs it. What is
shown holds no code and no link, for neither is to be followed without having been asked for, and no name of anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from juniperd.errors import JuniperError, LoginRequired
from juniperd.journal import Journal
from juniperd.model import Clock
from juniperd.notification import Notice, show
from juniperd.standing import Forewarned
from juniperd.threads import in_thread

QUIET = 3600.0
"""Seconds in which no second tool is announced, whatever happened meanwhile."""
LOOK = 30.0
"""Seconds between two looks at how long the sign-ins last."""
CURE = "run: juniper login"

Left = Callable[[], Awaitable[Mapping[str, float | None]]]
"""The seconds left of each issuer's sign-in that is in memory."""


class Notices:
    """The notices of one agent, at the session bus at ``address``; without an address there are none."""

    def __init__(self, address: str | None, *, clock: Clock, journal: Journal, left: Left) -> None:
        self._address = address
        self._clock = clock
        self._journal = journal
        self._left = left
        self._forewarned = Forewarned()
        self._announced = False
        self._announced_at: float | None = None
        self._showing: asyncio.Task[None] | None = None

    def turned_away(self, helper: str, error: JuniperError) -> None:
        """A tool got no credential: once for each end of a sign-in that is shown, where it is for want of one.

        Returns at once, whatever the bus does.
        """
        if not isinstance(error, LoginRequired) or self._announced or self._lately():
            return
        if self._send(Notice(f"Juniper: {_tool(helper)} needs a sign-in", CURE)):
            self._announced, self._announced_at = True, self._clock()

    def signed_in(self) -> None:
        """There is a sign-in now: its end is news again."""
        self._announced = False

    async def run(self) -> None:
        """Look how long the sign-ins last until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK)

    async def look(self) -> None:
        """Say that a sign-in will end soon, where it is time to."""
        for issuer, seconds in (await self._left()).items():
            if self._forewarned.due(issuer, seconds) and seconds is not None:
                minutes = max(round(seconds / 60), 0)
                self._send(Notice(f"Juniper: the sign-in ends in {minutes} min", CURE))

    def close(self) -> None:
        """Wait for no bus any more."""
        if self._showing is not None:
            self._showing.cancel()

    def _lately(self) -> bool:
        return self._announced_at is not None and 0 <= self._clock() - self._announced_at < QUIET

    def _send(self, notice: Notice) -> bool:
        """Begin to show it; false where it cannot be: no bus, or one that still owes its last answer."""
        if self._address is None or (self._showing is not None and not self._showing.done()):
            return False
        self._showing = asyncio.get_running_loop().create_task(self._show(notice, self._address))
        return True

    async def _show(self, notice: Notice, address: str) -> None:
        try:
            await in_thread(partial(show, notice, address), name="notice")
        except Exception as error:  # noqa: BLE001 - a desktop fails in ways of its own, and nobody waits for it
            self._journal.note("not_notified", kind=type(error).__name__)


def _tool(helper: str) -> str:
    """The tool as the person knows it: ``docker`` for ``docker-credential-juniper``, ``aws`` for ``juniper-aws``."""
    return helper.removeprefix("juniper-").removesuffix("-credential-juniper")
