"""Orders carried out: each once, written down before GitLab hears of it, and ended when it is told to."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from juniperd.errors import JuniperError, StateError, UpstreamError, UpstreamUnreachable
from juniperd.minter.gitlab import Gitlab, Misfit
from juniperd.minter.ledger import Entry, Ledger, Stage, replayed
from juniperd.minter.looks import Looks
from juniperd.minter.rules import Rules
from juniperd.model import Clock, rfc3339
from juniperd.order import Minted, Order

log = logging.getLogger("juniperd.minter")
PATIENCE = 6.0
"""Seconds that orders under way get when the minter stops: what GitLab may take to answer one."""


class Mint:
    """What carries out orders that were verified."""

    def __init__(self, rules: Rules, ledger: Ledger, gitlab: Gitlab, *, clock: Clock) -> None:
        self._rules = rules
        self._ledger = ledger
        self._gitlab = gitlab
        self._looks = Looks(gitlab, clock=clock)
        self._clock = clock
        self._flights: dict[str, asyncio.Task[Minted]] = {}

    @property
    def under_way(self) -> frozenset[str]:
        """The orders that GitLab may be answering at this moment."""
        return frozenset(self._flights)

    async def mint(self, order: Order) -> Minted:
        """A new token; a caller that goes away stops nothing, because GitLab may have heard of it already."""
        self._rules.check(order, self._clock())
        if order.id in self._flights:
            raise replayed(order)
        flight = asyncio.create_task(self._fly(order))
        self._flights[order.id] = flight
        flight.add_done_callback(lambda _: self._flights.pop(order.id, None))
        return await asyncio.shield(flight)

    async def end(self, order: Order) -> None:
        """Returns once GitLab says that the token of this order is gone; until then the end stays due."""
        if await self._ledger.find(order.id) is None:
            self._rules.check_project(order)
        entry = await self._asked_to_end(order)
        if entry.stage is Stage.ENDED:
            return
        if entry.token_id:
            await self._gitlab.end(entry.project_id, entry.token_id, name=entry.token_name)
        if entry.token_name != entry.name:
            await self._end_unanswered(entry)
        await self._ledger.ended(entry.order, now=self._clock())
        log.info("order %s: ended in project %d as ordered", entry.order, entry.project_id)

    async def finish(self) -> None:
        """Give the orders under way their time."""
        if self._flights:
            await asyncio.wait(self._flights.values(), timeout=PATIENCE)

    async def _fly(self, order: Order) -> Minted:
        await self._ledger.open(order)
        try:
            minted = await self._made(order)
            await self._ledger.minted(order.id, minted.token_id)
        except JuniperError:
            self._looks.spoil(order.project_id)
            raise
        until = rfc3339(order.ends_at)
        log.info("order %s: minted for %s in project %d until %s", order.id, order.user, order.project_id, until)
        return minted

    async def _made(self, order: Order) -> Minted:
        """The token from GitLab; where there is surely none, the order has ended."""
        try:
            return await self._gitlab.make(order)
        except UpstreamError as error:
            if isinstance(error, Misfit):
                await self._undo(order, error)
            if not error.lost:
                await self._ledger.ended(order.id, now=self._clock())
            log.warning("order %s: no token for %s in project %d (%s)", order.id, order.user, order.project_id, error)
            raise

    async def _undo(self, order: Order, made: Misfit) -> None:
        """Delete a token that nobody asked for like this; what stays is known by its number, as its name may be any."""
        if made.name:
            # A ledger that cannot be written keeps nobody from trying.
            with suppress(StateError):
                await self._ledger.found(order.id, made.number, made.name)
        with suppress(UpstreamError):
            await self._gitlab.delete(order.project_id, made.number)

    async def _asked_to_end(self, order: Order) -> Entry:
        """The entry as it stands once no mint of this order is under way."""
        while True:
            if (flight := self._flights.get(order.id)) is not None:
                await asyncio.wait({flight})
            entry = await self._ledger.ask_to_end(order, now=self._clock())
            # A mint order may have come in between; it found the end written down, or the end found it.
            if order.id not in self._flights:
                return entry

    async def _end_unanswered(self, entry: Entry) -> None:
        """Delete by name what GitLab may have made without our hearing of it.

        Up to the token's end nothing that was found is no end, and anybody's look will do. After it nothing is: so that
        look begins after it, because nobody will look again.
        """
        now = self._clock()
        over = now >= entry.ends_at
        rows = await self._looks.rows(entry.project_id, since=entry.ends_at if over else 0.0)
        found = [row for row in rows if row.name == entry.name]
        for row in found:
            await self._gitlab.delete(entry.project_id, row.id)
        if not found and not over:
            msg = f"GitLab never answered order {entry.order}, and shows no token of it yet"
            raise UpstreamUnreachable(msg, f"ask again; the minter looks for one until {rfc3339(entry.ends_at)}")
