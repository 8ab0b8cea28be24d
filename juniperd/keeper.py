"""The sign-in of one issuer kept alive: out of the store, renewed in turn, ended with its reason.

The agent alone owns the refresh token, by turns where one person has two agents. There is one refresh at a time,
nobody can cancel it, and the token that comes back is stored before anything that came with it is used: a lost one
would be a lost sign-in.

Before a refresh goes out, it is noted beside the token that it does. A token so marked may have been spent by an agent
that was killed, or for an answer that never came. It is tried once more and never a third time: a provider with a
grace takes it, and one without ends the whole sign-in as it would for a thief.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from juniperd.errors import (
    JuniperError,
    LoginExpired,
    LoginRequired,
    StoreError,
    TokenRejected,
    UpstreamError,
    UpstreamUnreachable,
)
from juniperd.flights import Flights
from juniperd.held import OVER, HeldSignIn
from juniperd.identity import Provider, plug, tokens
from juniperd.idp_client import IdpClient
from juniperd.model import Clock
from juniperd.skew import ClockSkew
from juniperd.standing import IssuerDoor
from juniperd.store import Store

REFRESH_AFTER = 240.0
"""Seconds an ID token is used; the issuer takes it for ten minutes, and the refresh is what notices a leaver."""
USABLE_FOR = 540.0
"""Seconds an ID token is still shown where its provider cannot be reached for a new one."""
LOOK_AGAIN = 30.0
"""Seconds a keyring that is locked or has no sign-in is left alone: each attempt may cost a tool three."""


class Keeper:
    """Holds one sign-in; ``changed`` is called whenever it begins or ends."""

    def __init__(
        self,
        issuer: IssuerDoor,
        idp: IdpClient,
        *,
        store: Store,
        clock: Clock,
        skew: ClockSkew,
        changed: Callable[[], None],
    ) -> None:
        self.held: HeldSignIn | None = None
        self.ended: str | None = None
        """Why the last sign-in ended, where it did not end by logout."""
        self._issuer = issuer
        self._idp = idp
        self._store = store
        self._clock = clock
        self._skew = skew
        self._changed = changed
        self.locked = False
        """Whether the person locked it: nothing is held and nothing looked for until it is unlocked."""
        self._cure: str | None = None
        self._loaded = False
        self._shut: StoreError | None = None
        self._look_at = 0.0
        self._flights: Flights[str, None] = Flights()
        self._turn = asyncio.Lock()

    def now(self) -> float:
        """The servers' clock, as far as it is known."""
        return self._clock() - self._skew.seconds

    async def wake(self) -> HeldSignIn:
        """Take the sign-in out of the store, once; else :class:`LoginRequired`."""
        if self.locked:
            msg = "the sign-in is locked"
            raise LoginRequired(msg, "run: juniper unlock")
        if self.held is None and not self._loaded:
            if not 0 < self._look_at - self._clock() <= LOOK_AGAIN:
                await self._flights.join("load", self._load)
            elif self._shut is not None:
                raise self._shut
        return self.holding()

    def holding(self) -> HeldSignIn:
        """The sign-in in memory, or the reason why there is none."""
        if self.held is not None:
            return self.held
        if self.ended:
            raise LoginExpired(self.ended, self._cure)
        msg = "nobody is signed in"
        raise LoginRequired(msg)

    def young(self) -> bool:
        """Whether the ID token needs no refresh: four minutes from its arrival, for Entra dates it five minutes back."""
        held, now = self.holding(), self.now()
        return 0 <= held.age(now) < USABLE_FOR and 0 <= now - held.received_at + 1.0 < REFRESH_AFTER

    def usable(self) -> bool:
        """Whether the ID token may be shown where no newer one is to be had."""
        return 0 <= self.holding().age(self.now()) < USABLE_FOR

    async def refresh(self) -> None:
        """A new ID token; many callers are one refresh."""
        await self._flights.join("refresh", self._refresh)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Alone with the sign-in, in this agent and among all of this person's."""
        async with self._turn, self._store.turn():
            yield

    async def catch_up(self) -> None:
        """Take over what another agent of this person did: its refresh, its login, its logout."""
        held = self.held
        if held is None:
            return
        stored = await self._store.current(self._issuer.url)
        if stored is None:
            raise await self.end("the sign-in was taken out of the keyring")
        if not held.take_over(stored):
            self.held = None
            await self._load()
            self._changed()

    async def seat(self, held: HeldSignIn) -> None:
        """Begin to keep a new sign-in."""
        await self._store.save(held.at_rest(self._issuer.url))
        self.held, self.ended, self._loaded, self.locked = held, None, True, False
        self._changed()

    async def lock(self) -> HeldSignIn | None:
        """Forget the tokens in memory until :meth:`unlock`; the sign-in, where memory had the only copy of it."""
        # Nobody is served from here on; a refresh under way lands first, for its new token must not be lost.
        self.locked = True
        self._changed()
        async with self._turn:
            held, self.held, self.locked = self.held, None, True
            self._loaded, self._look_at = False, 0.0
            rests = self._store.let_go(self._issuer.url)
        return None if rests else held

    async def unlock(self) -> None:
        """Take the sign-in out of the keyring again; one that stays shut leaves it locked."""
        self.locked = False
        try:
            await self.wake()
        except StoreError:
            self.locked = True
            self._look_at = 0.0
            raise
        self._changed()

    async def end(self, reason: str, cure: str | None = None) -> LoginExpired:
        """The sign-in is over; the error that says so."""
        await self.forget(reason, cure)
        return LoginExpired(reason, cure)

    async def forget(self, reason: str | None, cure: str | None = None) -> None:
        """Drop the sign-in here and at rest; ``reason`` is what a person reads later, ``None`` after a logout."""
        self.held = None
        self.ended, self._cure, self._shut = reason, cure, None
        # After a logout nothing is looked for any more: what a keyring does not let go of must not come back.
        self._loaded = reason is None
        self._look_at = self._clock() + LOOK_AGAIN
        self._changed()
        await self._store.delete(self._issuer.url)

    async def revoked(self, held: HeldSignIn) -> str | None:
        """Revoke its refresh token at the provider; the reason where that failed."""
        try:
            provider = await self._issuer.provider(held.name)
            await self._idp.revoke(provider, held.refresh_token, flow=held.flow)
        except JuniperError as error:
            return error.message
        return None

    @property
    def occupied(self) -> bool:
        """Whether work that somebody will ask for is under way."""
        return len(self._flights) > 0 or self._turn.locked()

    async def close(self) -> None:
        """Let a refresh land: its new token must not be lost."""
        await self._flights.drain(2.0)

    async def _load(self) -> None:
        self._shut, self._look_at = None, self._clock() + LOOK_AGAIN
        try:
            stored = await self._store.load(self._issuer.url)
        except StoreError as error:
            # A sign-in may lie there: the person is told to unlock, and asked again only after a while.
            self._shut = error
            raise
        if self.locked:
            self._store.let_go(self._issuer.url)
        elif stored is not None and self.held is None:
            try:
                self.held = HeldSignIn.from_rest(stored)
            except TokenRejected:
                await self._store.delete(self._issuer.url)
        # Where nothing rests another agent of this person may still put something.
        self._loaded = self.held is not None

    async def _refresh(self) -> None:
        """Spend the refresh token that rests now: another agent of this person may have spent the one in memory."""
        async with self.turn():
            await self.catch_up()
            await self._doubt(self.holding())
            tried = self.holding().refresh_token
            try:
                await self._renew(self.holding())
            except LoginExpired as error:
                if self.held is None:
                    raise
                await self.catch_up()
                if self.holding().refresh_token == tried:
                    raise await self.end(error.message, error.remedy) from None
                await self._renew(self.holding())

    async def _doubt(self, held: HeldSignIn) -> None:
        """Where another token has come since and is lost, the one in hand is one that may be spent."""
        try:
            spent = await self._store.may_be_spent(held.at_rest(self._issuer.url))
        except StoreError as error:
            raise UpstreamUnreachable(error.message, error.remedy) from None
        if spent:
            held.tries = max(held.tries, 1)

    async def _renew(self, held: HeldSignIn) -> None:
        # Asked first, for by its answer this machine's clock is set right.
        provider = await self._issuer.provider(held.name)
        if held.ends_at is not None and self.now() >= held.ends_at:
            raise await self.end(OVER)
        body = await self._spend(held, provider)
        rotated = tokens.new_refresh_token(body)
        if rotated is not None or held.tries:
            held.refresh_token, held.tries = rotated or held.refresh_token, 0
            await self._store.save(held.at_rest(self._issuer.url))
        try:
            received = tokens.read_tokens(body, provider)
        except LoginRequired as error:
            await self.forget(error.message, error.remedy)
            raise
        if held.claims is not None and received.claims.subject != held.claims.subject:
            raise await self.end("the identity provider answered for another person")
        held.receive(received, self.now())
        held.ends_at = received.claims.auth_time + provider.sign_in_max_age

    async def _spend(self, held: HeldSignIn, provider: Provider) -> Mapping[str, object]:
        """What the refresh token is answered; ``held.tries`` says whether it may have been spent before."""
        grace, doubts = plug(provider.kind).GRACE, held.tries
        if math.isinf(grace):
            return await self._asked(held, provider)
        if doubts:
            await self._dare(held, provider)
        await self._mark(held, doubts + 1)
        try:
            return await self._asked(held, provider)
        except LoginExpired as error:
            if doubts:
                msg = f"the answer to a renewal was lost, and then {error.message}"
                raise LoginExpired(msg, error.remedy) from None
            raise
        except UpstreamError as error:
            if not error.lost:
                await self._mark(held, doubts)
                raise
            if doubts or not grace:
                raise
        # Now, and not when somebody asks the next time: the grace is short.
        return await self._spend(held, provider)

    async def _asked(self, held: HeldSignIn, provider: Provider) -> Mapping[str, object]:
        return await self._idp.refresh(provider, held.refresh_token, flow=held.flow, key=held.bound_to)

    async def _dare(self, held: HeldSignIn, provider: Provider) -> None:
        """The one more try is for a provider that answers; there is no other after it."""
        if held.tries > 1:
            raise await self.end("two renewals went unanswered, and a third would look like a thief's")
        await self._idp.check_answers(provider)

    async def _mark(self, held: HeldSignIn, tries: int) -> None:
        held.tries = tries
        await self._store.mark(held.at_rest(self._issuer.url))
