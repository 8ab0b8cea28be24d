"""Ends tokens by the minter's own clock, whether or not anybody asks: what is over, what was lost, what is left behind."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from juniperd.errors import JuniperError, StateError, UpstreamError
from juniperd.minter.gitlab import Gitlab, Row
from juniperd.minter.ledger import Entry, Ledger
from juniperd.minter.mint import Mint
from juniperd.model import Clock
from juniperd.order import PREFIX

log = logging.getLogger("juniperd.minter")
LOOK_AGAIN = 30.0
"""Seconds between two sweeps where nothing is due before."""
STRAYS_EVERY = 600.0
"""Seconds between two looks through all tokens of all projects."""
AT_ONCE = 8
_LONGEST_PAUSE = 60.0
_DOUBLED = 6


class Sweep:
    """What wakes at the next end, and soon again where GitLab did not do as it was told."""

    def __init__(self, mint: Mint, ledger: Ledger, gitlab: Gitlab, *, projects: frozenset[int], clock: Clock) -> None:
        self._mint = mint
        self._ledger = ledger
        self._gitlab = gitlab
        self._projects = projects
        self._clock = clock
        self._changed = asyncio.Event()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._strays_at = 0.0
        self._failures = 0

    def look(self) -> None:
        """A token was made, whose end may be the next one."""
        self._changed.set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            self._changed.clear()
            pause = await self._pause()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)

    async def once(self) -> bool:
        """One sweep; False where something stays due."""
        over = await self._end_what_is_over()
        found = await self._look_through_projects()
        await self._ledger.forget(now=self._clock())
        return over and found

    async def _pause(self) -> float:
        """Seconds to the next sweep, once this one is done."""
        try:
            whole = await self.once()
            due = await self._ledger.next_due()
        except StateError as error:
            log.warning("nothing can be swept (%s)", error)
            whole, due = False, None
        self._failures = 0 if whole else self._failures + 1
        if not whole:
            return min(2.0 ** min(self._failures, _DOUBLED), _LONGEST_PAUSE)
        return LOOK_AGAIN if due is None else min(max(due - self._clock(), 0.0), LOOK_AGAIN)

    async def _end_what_is_over(self) -> bool:
        """A few at a time, each for itself: one that GitLab will not delete holds up no other."""
        return all(await asyncio.gather(*(self._end(entry) for entry in await self._ledger.due(self._clock()))))

    async def _end(self, entry: Entry) -> bool:
        try:
            async with self._gate:
                await self._gitlab.end(entry.project_id, entry.token_id, name=entry.token_name)
            await self._ledger.ended(entry.order, now=self._clock())
        except JuniperError as error:
            log.warning("order %s: its end in project %d stays due (%s)", entry.order, entry.project_id, error)
            return False
        log.info("order %s: over in project %d", entry.order, entry.project_id)
        return True

    async def _look_through_projects(self) -> bool:
        """Tokens of orders that were never answered, and at times those that nobody remembers."""
        now = self._clock()
        unanswered = await self._unanswered()
        strays = now >= self._strays_at
        if strays:
            self._strays_at = now + STRAYS_EVERY
        whole = True
        for project in sorted({e.project_id for e in unanswered} | (self._projects if strays else set())):
            try:
                await self._look_through(project, [e for e in unanswered if e.project_id == project])
            except UpstreamError as error:
                log.warning("project %d cannot be swept (%s)", project, error)
                whole = False
        return whole

    async def _unanswered(self) -> list[Entry]:
        """Orders that nobody carries out any more, after a crash or a lost answer.

        Who is under way is asked on both sides of the ledger's answer: an order that began or ended meanwhile counts
        as under way, and is none of the sweep's business.
        """
        before = self._mint.under_way
        found = await self._ledger.unanswered()
        return [e for e in found if e.order not in before | self._mint.under_way]

    async def _look_through(self, project: int, unanswered: list[Entry]) -> None:
        now = self._clock()
        named = {entry.name: entry for entry in unanswered}
        numbered = {(entry.token_id, entry.token_name): entry for entry in unanswered}
        for row in await self._gitlab.rows(project):
            entry = named.get(row.name) or numbered.get((row.id, row.name))
            if entry is None and not _is_left_behind(row, now):
                continue
            await self._gitlab.delete(project, row.id)
            if entry is not None and not entry.token_id:
                await self._ledger.found(entry.order, row.id, row.name)
            log.info("project %d: deleted token %d, which %s", project, row.id, "nobody got" if entry else "was left")
        for entry in unanswered:
            # Until then GitLab may still be at work on what it never answered.
            if entry.ends_at <= now:
                await self._ledger.ended(entry.order, now=now)
                log.info("order %s: over in project %d", entry.order, entry.project_id)


def _is_left_behind(row: Row, now: float) -> bool:
    """A token of a minter's that lets nobody in any more; one without an end was made by a person."""
    return row.name.startswith(f"{PREFIX} ") and row.expires_at is not None and row.expires_at < now
