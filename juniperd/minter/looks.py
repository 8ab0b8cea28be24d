"""Looks through a project's tokens, shared by those who ask at once: many orders are lost together, and end together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from juniperd.minter.gitlab import Gitlab, Row
from juniperd.model import Clock

RECENT = 5.0
"""Seconds for which a look that has ended counts."""


@dataclass(slots=True)
class _Look:
    """One look, from its beginning; its own task sets ``ended`` where it comes to its end whole, so that nobody asks between."""

    began: float
    ended: float | None = None
    task: asyncio.Task[list[Row]] = field(init=False)

    def counts(self, *, since: float, now: float) -> bool:
        """Whether it says something of a moment ``since``; a clock that was set back makes an old one of each that has ended."""
        if self.began < since:
            return False
        return not self.task.done() if self.ended is None else 0 <= now - self.ended < RECENT


class Looks:
    """The last look through each project."""

    def __init__(self, gitlab: Gitlab, *, clock: Clock) -> None:
        self._gitlab = gitlab
        self._clock = clock
        self._last: dict[int, _Look] = {}

    async def rows(self, project_id: int, *, since: float) -> list[Row]:
        """All deploy tokens of a project, by a look that began at ``since`` or later and is still good, or a new one.

        A caller that goes away ends it for nobody else.
        """
        look = self._last.get(project_id)
        if look is None or not look.counts(since=since, now=self._clock()):
            look = self._begin(project_id)
        return await asyncio.shield(look.task)

    def spoil(self, project_id: int) -> None:
        """Something may have been made there, of which no look that has begun says anything."""
        self._last.pop(project_id, None)

    def _begin(self, project_id: int) -> _Look:
        look = self._last[project_id] = _Look(self._clock())
        look.task = asyncio.create_task(self._through(project_id, look))
        # Read, so that a failure nobody waited for is no "exception was never retrieved".
        look.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return look

    async def _through(self, project_id: int, look: _Look) -> list[Row]:
        rows = await self._gitlab.rows(project_id)
        look.ended = self._clock()
        return rows
