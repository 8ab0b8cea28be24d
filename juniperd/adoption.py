"""A new sign-in shown to the issuer: what was there before is replaced only by one that the issuer takes."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from juniperd.errors import IssuerUnreachable, JuniperError, LoginRequired, StoreError, SubjectRejected
from juniperd.flights import Flights
from juniperd.held import HeldSignIn
from juniperd.identity import SubjectToken
from juniperd.jose import SigningKey
from juniperd.keeper import Keeper
from juniperd.login import Checking, SignedIn, Tell
from juniperd.standing import IssuerDoor, Receipt

ADOPT_TIME = 15.0
"""Seconds the issuer has to take a new sign-in."""
GIVE_BACK_TIME = 3.0
"""Seconds a person waits while what is no longer needed is given back."""


class Adoption:
    """Brings new sign-ins to the issuer, and those it takes to the keeper."""

    def __init__(self, issuer: IssuerDoor, keeper: Keeper) -> None:
        self._issuer = issuer
        self._keeper = keeper
        self._spare: SigningKey | None = None
        self._flights: Flights[str, None] = Flights()

    def key(self) -> SigningKey:
        """The key of the next sign-in."""
        return self._spare or SigningKey.generate_es256()

    def keep_key(self, key: SigningKey) -> None:
        """The next sign-in goes on with it: the issuer has pinned it, and in device flow pins no other."""
        self._spare = key

    async def adopted(self, held: HeldSignIn, tell: Tell) -> SignedIn:
        """How the login ended, once the issuer has taken it."""
        tell(Checking())
        self._spare = None
        # From here on a person who leaves no longer interrupts it half-way.
        await self._flights.join(f"adopt {held.key.kid}", lambda: self._adopt(held))
        return _signed_in(held)

    @property
    def occupied(self) -> bool:
        """Whether a sign-in is being taken in."""
        return len(self._flights) > 0

    async def close(self) -> None:
        """Let one that is under way land."""
        await self._flights.drain(2.0)

    async def _adopt(self, held: HeldSignIn) -> None:
        try:
            async with asyncio.timeout(ADOPT_TIME) as limit, self._keeper.turn():
                old = await self._replaced()
                receipt = await self._pinned(held, old)
                # Pinned, it counts, and nothing may cut it off half-way.
                limit.reschedule(None)
                held.user_id, held.login, held.ends_at = receipt.user_id, receipt.login, receipt.ends_at or None
                await self._keeper.seat(held)
        except TimeoutError:
            await self._drop(held)
            msg = f"the issuer did not take the sign-in within {ADOPT_TIME:.0f} s"
            raise IssuerUnreachable(msg) from None
        except JuniperError:
            await self._drop(held)
            raise
        if old is not None:
            await self._free(old, held)

    async def _replaced(self) -> HeldSignIn | None:
        """The sign-in that a new one is about to replace, as it rests."""
        with suppress(LoginRequired, StoreError):
            await self._keeper.wake()
            await self._keeper.catch_up()
        return self._keeper.held

    async def _pinned(self, held: HeldSignIn, old: HeldSignIn | None) -> Receipt:
        try:
            return await self._issuer.sign_in(held.subject)
        except SubjectRejected as error:
            if old is None:
                raise
            refused = error
        # In device flow one session at the provider is one key: where the old sign-in's has it, that is gone on with.
        try:
            receipt = await self._issuer.sign_in(SubjectToken(held.subject.token, old.key))
        except SubjectRejected:
            raise refused from None
        held.key = old.key
        return receipt

    async def _free(self, old: HeldSignIn, held: HeldSignIn) -> None:
        """Give back the pin of a key that is used no more; the token of the same person's new sign-in says whose it is.

        The old refresh token is only forgotten. Providers tie it to the grant that the new one shares.
        """
        token = held.id_token if old.same_person(held) else old.id_token
        if token is None or old.key.kid == held.key.kid:
            return
        with suppress(JuniperError, TimeoutError):
            async with asyncio.timeout(GIVE_BACK_TIME):
                await self._issuer.sign_out(SubjectToken(token, old.key))

    async def _drop(self, held: HeldSignIn) -> None:
        """A login that failed. Its key is kept for the next one: the issuer may have pinned it before it fell silent.

        Its refresh token is revoked, but for one beside a sign-in that goes on: providers tie both to one grant.
        """
        self._spare = held.key
        kept = self._keeper.held
        if kept is not None and kept.name == held.name:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVE_BACK_TIME):
                await self._keeper.revoked(held)


def _signed_in(held: HeldSignIn) -> SignedIn:
    return SignedIn(
        person=held.claims.person if held.claims else "",
        user_id=held.user_id,
        login=held.login,
        identity=held.name,
        ends_at=held.ends_at or 0.0,
    )
