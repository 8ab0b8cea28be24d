"""Ends debugging sessions by the issuer's own clock, whether or not their laptop is still there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from juniperd.errors import StateError
from juniperd.issuer import sessions
from juniperd.issuer.state import State
from juniperd.model import Clock

log = logging.getLogger("juniperd.issuer")
LOOK_AGAIN = 60.0
"""Seconds between two looks at the clock: one that is stepped, or a machine that slept, is noticed by then."""


class Sweep:
    """What wakes when the next session's time is over; a session that is over wakes nothing before it is swept.

    ``ended`` is called whenever some may have ended.
    """

    def __init__(self, state: State, *, clock: Clock, ended: Callable[[], None]) -> None:
        self._state = state
        self._clock = clock
        self._ended = ended
        self._changed = asyncio.Event()

    def look(self) -> None:
        """An end was set, which may be the next one."""
        self._changed.set()

    async def once(self) -> None:
        """End what is due."""
        now = self._clock()
        await self._state.write(lambda c: sessions.end_due(c, now))
        self._ended()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            self._changed.clear()
            pause = await self._pause()
            try:
                await asyncio.wait_for(self._changed.wait(), pause)
            except TimeoutError:
                continue

    async def _pause(self) -> float:
        """Seconds to the next end, once everything due has ended."""
        try:
            due = self._state.read(sessions.next_end)
            if due is not None and due <= self._clock():
                await self.once()
                due = self._state.read(sessions.next_end)
        except StateError as error:
            log.warning("sessions that are over cannot be written down (%s)", error)
            return LOOK_AGAIN
        return LOOK_AGAIN if due is None else min(max(due - self._clock(), 0.0), LOOK_AGAIN)
