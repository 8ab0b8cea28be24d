"""A deploy token for one decision: its order is on disk before the minter hears of it, its record before it leaves.

What goes wrong in between leaves an order that is to end, for the minter may have carried it out.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from juniperd.errors import JuniperError
from juniperd.issuer import audit, orders
from juniperd.issuer.claims import Stamp
from juniperd.issuer.facts import User
from juniperd.issuer.ground import Ground
from juniperd.issuer.hearing import Decided, Hearing
from juniperd.issuer.minting import Minting
from juniperd.issuer.orders import Entry
from juniperd.issuer.policy import Target, token_scopes
from juniperd.issuer.verdict import Grant, Refused
from juniperd.model import rfc3339
from juniperd.order import Act, Minted, Order

_HUNG_UP = Refused("mint", "hung_up", "nobody waited for the deploy token any more", passing=True)
_ENDED = Refused("mint", "order_ended", "the deploy token was ended before it could be handed over", passing=True)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A deploy token that was decided on, and what must still hold when it comes."""

    order: Order
    entry: Entry
    hearing: Hearing
    decided: Decided


class DeployTokens:
    """Has tokens made; once ordered, each is handed over or ended, whoever hangs up."""

    def __init__(self, ground: Ground, *, minting: Minting) -> None:
        self._state = ground.state
        self._clock = ground.clock
        self._new_id = ground.new_id
        self._minting = minting
        self._under_way: set[asyncio.Task[Minted | Refused]] = set()

    def wanted(
        self, hearing: Hearing, decided: Decided, grant: Grant, target: Target, stamp: Stamp, decision: str
    ) -> Wanted | None:
        """The order for a target that takes a deploy token; of any other there is none."""
        scopes, (identity, subject) = token_scopes(target), hearing.caller
        if not scopes:
            return None
        ends_at = float(int(stamp.ends(grant, target)))
        order = Order(self._new_id(), Act.MINT, grant.project.id, _name(grant.user), scopes, ends_at)
        entry = Entry(
            id=order.id,
            decision=decision,
            identity=identity,
            subject=subject,
            thumbprint=hearing.thumbprint,
            user_id=grant.user.id,
            scope=grant.scope.name,
            session=stamp.session,
            project_id=order.project_id,
            ordered_at=stamp.now,
            ends_at=ends_at,
        )
        return Wanted(order, entry, hearing, decided)

    async def fetch(self, wanted: Wanted, *, there: Callable[[], bool]) -> Minted | Refused:
        """The token, on record; ``there`` says whether anybody still waits for it."""
        task = asyncio.create_task(self._fetch(wanted, there))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda _: self._minting.drop(wanted.order.id, "hung_up"))
            raise

    async def close(self) -> None:
        """Wait for what is under way, and write down what nobody waits for."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await asyncio.sleep(0)  # what is called at their end has been called by then
        await self._minting.settle()

    async def _fetch(self, wanted: Wanted, there: Callable[[], bool]) -> Minted | Refused:
        try:
            found = await self._minting.mint(wanted.order)
            found = found if there() else _HUNG_UP
            refused = await self._state.write(lambda c: self._conclude(c, wanted, found))
        except JuniperError:
            self._minting.drop(wanted.order.id, "failed")
            raise
        if refused is not None:
            self._minting.look()
            return refused
        return found

    def _conclude(self, connection: sqlite3.Connection, wanted: Wanted, found: Minted | Refused) -> Refused | None:
        """The token let out, or its order to be ended, and either on record."""
        refused = found if isinstance(found, Refused) else self._let_out(connection, wanted, found)
        if refused is not None:
            orders.end(connection, wanted.order.id, refused.reason)
            why = {"reason": refused.reason, "text": refused.text}
            audit.append(connection, "mint_failed", at=self._clock(), fields={**orders.said(wanted.entry), **why})
        return refused

    def _let_out(self, connection: sqlite3.Connection, wanted: Wanted, minted: Minted) -> Refused | None:
        """Why a token that was made does not leave, or None: what permitted it, or its order, may have ended meanwhile."""
        verdict = wanted.hearing.last_look(connection, wanted.decided)
        if isinstance(verdict, Refused):
            return verdict
        digest = orders.digest_of(minted.secret)
        if not orders.let_out(connection, wanted.order.id, digest=digest, ends_at=minted.ends_at):
            return _ENDED
        made = {"token_id": minted.token_id, "user": wanted.order.user, "ends_at": rfc3339(minted.ends_at)}
        audit.append(connection, "minted", at=self._clock(), fields={**orders.said(wanted.entry), **made})
        return None


def _name(user: User) -> str:
    """Who a token is for, in the letters that GitLab takes in its user name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", user.label)[:200]
