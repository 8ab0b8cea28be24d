"""The person's sign-in at one issuer: made by a flow, kept alive by a rotating refresh token, ended by logout.

The agent alone owns the refresh token, by turns where one person has two agents. There is one refresh at a time,
nobody can cancel it, and the token that comes back is stored before anything that came with it is used: a lost one
would be a lost sign-in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass

from juniperd.errors import (
    IssuerUnreachable,
    JuniperError,
    LoginExpired,
    LoginRequired,
    StoreError,
    SubjectRejected,
    TokenRejected,
    UpstreamUnreachable,
)
from juniperd.flights import Flights
from juniperd.identity import SubjectToken, tokens
from juniperd.identity.browser import bound_nonce
from juniperd.identity.tokens import ReadClaims
from juniperd.idp_client import IdpClient
from juniperd.jose import SigningKey
from juniperd.login import Checking, JoinableLogin, LoginEvent, SignedIn, Tell
from juniperd.model import Clock, Secret
from juniperd.skew import ClockSkew
from juniperd.standing import IssuerDoor, Receipt, SignInState
from juniperd.store import Store, StoredSignIn

REFRESH_AFTER = 240.0
"""Seconds an ID token is used; the issuer takes it for ten minutes, and the refresh is what notices a leaver."""
USABLE_FOR = 540.0
"""Seconds an ID token is still shown where its provider cannot be reached for a new one."""
LOOK_AGAIN = 30.0
"""Seconds a keyring that is locked or has no sign-in is left alone: each attempt may cost a tool three."""
ADOPT_TIME = 15.0
"""Seconds the issuer has to take a new sign-in."""
GIVE_BACK_TIME = 3.0
"""Seconds a person waits while what is no longer needed is given back."""


@dataclass(slots=True)
class _Held:
    """A sign-in in memory; out of the store it knows its provider by name until it is first used."""

    name: str
    key: SigningKey
    refresh_token: Secret
    flow: str = "device"
    id_token: Secret | None = None
    claims: ReadClaims | None = None
    received_at: float = 0.0
    ends_at: float | None = None
    receipt: Receipt | None = None


class SignIn:
    """The sign-in of one issuer; ``changed`` is called whenever it begins or ends."""

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
        self._changed = changed
        self._issuer = issuer
        self._idp = idp
        self._store = store
        self._clock = clock
        self._skew = skew
        self._held: _Held | None = None
        self._loaded = False
        self._locked: StoreError | None = None
        self._look_at = 0.0
        self._ended: str | None = None
        self._spare: SigningKey | None = None
        self._cure: str | None = None
        self._flights: Flights[str, None] = Flights()
        self._turn = asyncio.Lock()
        self._login: JoinableLogin | None = None
        self._flow: str | None = None

    @property
    def identity(self) -> str | None:
        """What tells this sign-in from every other: its key's thumbprint; ``None`` while there is none in memory."""
        return self._held.key.kid if self._held is not None else None

    async def wake(self) -> str:
        """Take the sign-in out of the store, once; its :attr:`identity`, else :class:`LoginRequired`."""
        if self._held is None and not self._loaded:
            if not 0 < self._look_at - self._clock() <= LOOK_AGAIN:
                await self._flights.join("load", self._load)
            elif self._locked is not None:
                raise self._locked
        return self._holding().key.kid

    async def subject(self, *, fresh: bool = False) -> SubjectToken:
        """The ID token to show and the key to prove it with; refreshed where it is older than four minutes."""
        await self.wake()
        if fresh or not self._young(self._holding()):
            try:
                await self._flights.join("refresh", self._refresh)
            except UpstreamUnreachable as error:
                if not 0 <= self._age(self._holding()) < USABLE_FOR:
                    msg = f"the sign-in cannot be renewed ({error.message})"
                    raise UpstreamUnreachable(msg, "check your network, then try again", host=error.host) from None
        return self._shown(self._holding())

    async def state(self) -> SignInState:
        """The state, without asking anybody outside."""
        try:
            await self.wake()
        except LoginRequired:
            return SignInState("ended" if self._ended else "signed-out", reason=self._ended)
        except StoreError as error:
            return SignInState("locked", reason=str(error))
        held = self._holding()
        return SignInState(
            state="signed-in",
            identity=held.name,
            person=held.claims.person if held.claims else None,
            user_id=held.receipt.user_id if held.receipt else None,
            login=held.receipt.login if held.receipt else None,
            ends_at=held.ends_at,
        )

    def login(
        self, *, identity: str | None = None, flow: str | None = None, auto: str | None = None
    ) -> AsyncGenerator[LoginEvent, None]:
        """Sign in, or join the sign-in under way; the last event is :class:`SignedIn`.

        ``flow`` overrides what the identity's configuration prefers; ``auto`` is what ``auto`` means where the person
        sits. Who asks for the other flow by name ends the one under way.
        """
        running = self._login if self._login is not None and self._login.open else None
        if running is not None and flow is not None and self._flow not in {None, flow}:
            running.abandon()
            running = None
        if running is not None:
            return running.listen(joined=True)
        self._flow = flow
        self._login = JoinableLogin(lambda tell: self._run_login(tell, identity, flow, auto))
        return self._login.listen()

    async def logout(self) -> tuple[str, ...]:
        """Free the pin, revoke the refresh token, forget everything here; what could not be done comes back as text."""
        await self.wake()
        notes: list[str] = []
        try:
            await self._issuer.sign_out(await self.subject())
        except JuniperError as error:
            notes.append(f"the issuer was not told: {error.message}")
        async with self._turn, self._store.turn():
            await self._catch_up()
            held = self._held
            if held is not None and (problem := await self._revoked(held)) is not None:
                notes.append(f"the refresh token was not revoked: {problem}")
            await self._forget(None)
        return tuple(notes)

    def abandon_login(self) -> None:
        """End a login under way; those who wait for it are told."""
        if self._login is not None and self._login.open:
            self._login.abandon()

    @property
    def occupied(self) -> bool:
        """Whether a login, or work that somebody will ask for, is under way."""
        return len(self._flights) > 0 or self._turn.locked() or (self._login is not None and self._login.open)

    async def close(self) -> None:
        """Let a refresh land: its new token must not be lost."""
        await self._flights.drain(2.0)

    # --- kept alive ---------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        self._locked, self._look_at = None, self._clock() + LOOK_AGAIN
        try:
            stored = await self._store.load(self._issuer.url)
        except StoreError as error:
            # A sign-in may lie there: the person is told to unlock, and asked again only after a while.
            self._locked = error
            raise
        if stored is not None and self._held is None:
            try:
                key = SigningKey.from_pem(stored.key_pem.reveal().encode())
            except TokenRejected:
                await self._store.delete(self._issuer.url)
            else:
                self._held = _Held(stored.provider, key, stored.refresh_token, stored.flow)
        # Where nothing rests another agent of this person may still put something.
        self._loaded = self._held is not None

    def _holding(self) -> _Held:
        if self._held is not None:
            return self._held
        if self._ended:
            raise LoginExpired(self._ended, self._cure)
        msg = "nobody is signed in"
        raise LoginRequired(msg)

    def _age(self, held: _Held) -> float:
        """Seconds since the ID token was issued, by the servers' clock; negative where there is none."""
        return self._now() - held.claims.issued_at + 1.0 if held.claims is not None else -1.0

    def _young(self, held: _Held) -> bool:
        """Whether the ID token needs no refresh: four minutes from its arrival, for Entra dates it five minutes back."""
        return 0 <= self._age(held) < USABLE_FOR and 0 <= self._now() - held.received_at + 1.0 < REFRESH_AFTER

    def _now(self) -> float:
        return self._clock() - self._skew.seconds

    async def _refresh(self) -> None:
        """Spend the refresh token that rests now: another agent of this person may have spent the one in memory."""
        async with self._turn, self._store.turn():
            await self._catch_up()
            tried = self._holding().refresh_token
            try:
                await self._renew(self._holding())
            except LoginExpired as error:
                if self._held is None:
                    raise
                await self._catch_up()
                if self._holding().refresh_token == tried:
                    raise await self._end(error.message, error.remedy) from None
                await self._renew(self._holding())

    async def _catch_up(self) -> None:
        """Take over what another agent of this person did: its refresh, its login, its logout."""
        held = self._held
        if held is None:
            return
        stored = await self._store.current(self._issuer.url)
        if stored is None:
            raise await self._end("the sign-in was taken out of the keyring")
        mine = _at_rest(self._issuer.url, held)
        if stored.key_pem == mine.key_pem:
            held.refresh_token = stored.refresh_token
        else:
            self._held = None
            await self._load()
            self._changed()

    async def _renew(self, held: _Held) -> None:
        if held.ends_at is not None and self._now() >= held.ends_at:
            raise await self._end("the sign-in has reached its end")
        provider = await self._issuer.provider(held.name)
        body = await self._idp.refresh(provider, held.refresh_token, flow=held.flow)
        if (rotated := tokens.new_refresh_token(body)) is not None:
            held.refresh_token = rotated
            await self._store.save(_at_rest(self._issuer.url, held))
        try:
            received = tokens.read_tokens(body, provider)
        except LoginRequired as error:
            await self._forget(error.message, error.remedy)
            raise
        if held.claims is not None and received.claims.subject != held.claims.subject:
            raise await self._end("the identity provider answered for another person")
        held.id_token, held.claims, held.received_at = received.id_token, received.claims, self._now()
        held.ends_at = received.claims.auth_time + await self._issuer.sign_in_max_age()

    async def _end(self, reason: str, cure: str | None = None) -> LoginExpired:
        """The sign-in is over; the error that says so."""
        await self._forget(reason, cure)
        return LoginExpired(reason, cure)

    async def _forget(self, reason: str | None, cure: str | None = None) -> None:
        """Drop the sign-in here and at rest; ``reason`` is what a person reads later, ``None`` after a logout."""
        self._held = None
        self._ended, self._cure, self._locked = reason, cure, None
        # After a logout nothing is looked for any more: what a keyring does not let go of must not come back.
        self._loaded = reason is None
        self._look_at = self._clock() + LOOK_AGAIN
        self._changed()
        await self._store.delete(self._issuer.url)

    def _shown(self, held: _Held) -> SubjectToken:
        if held.id_token is None:
            msg = "the sign-in has no ID token"
            raise LoginRequired(msg)
        return SubjectToken(held.id_token, held.key)

    async def _revoked(self, held: _Held) -> str | None:
        """Revoke at the provider; the reason where that failed."""
        try:
            provider = await self._issuer.provider(held.name)
            await self._idp.revoke(provider, held.refresh_token, flow=held.flow)
        except JuniperError as error:
            return error.message
        return None

    # --- made ---------------------------------------------------------------------------------------------------------

    async def _run_login(self, tell: Tell, identity: str | None, flow: str | None, auto: str | None) -> SignedIn:
        provider = await self._issuer.provider(identity)
        preferred = auto if provider.flow == "auto" else provider.flow
        self._flow = chosen = "browser" if (flow or preferred) == "browser" else "device"
        key = self._spare or SigningKey.generate_es256()

        def made(received: tuple[Secret, Secret, ReadClaims]) -> _Held:
            refresh_token, id_token, claims = received
            return _Held(provider.name, key, refresh_token, chosen, id_token, claims, self._now())

        if chosen == "device":
            return await self._adopted(made(await self._idp.device(provider, tell)), tell)
        nonce, max_age = bound_nonce(self._issuer.url, key.kid), await self._issuer.sign_in_max_age()
        async with self._idp.browser(provider, tell, nonce=nonce, max_age=max_age) as received:
            return await self._adopted(made(received), tell)

    async def _adopted(self, held: _Held, tell: Tell) -> SignedIn:
        tell(Checking())
        self._spare = None
        # From here on a person who leaves no longer interrupts it half-way.
        await self._flights.join(f"adopt {held.key.kid}", lambda: self._adopt(held))
        return _signed_in(held)

    async def _adopt(self, held: _Held) -> None:
        """Show a new sign-in to the issuer; what was there before is replaced only by one that the issuer takes."""
        try:
            async with asyncio.timeout(ADOPT_TIME) as limit, self._turn, self._store.turn():
                old = await self._replaced()
                held.receipt = await self._pinned(held, old)
                # Pinned, it counts, and nothing may cut it off half-way.
                limit.reschedule(None)
                await self._seat(held)
        except TimeoutError:
            await self._drop(held)
            msg = f"the issuer did not take the sign-in within {ADOPT_TIME:.0f} s"
            raise IssuerUnreachable(msg) from None
        except JuniperError:
            await self._drop(held)
            raise
        if old is not None:
            await self._free(old, held)

    async def _replaced(self) -> _Held | None:
        """The sign-in that a new one is about to replace, as it rests."""
        with suppress(LoginRequired, StoreError):
            await self.wake()
            await self._catch_up()
        return self._held

    async def _pinned(self, held: _Held, old: _Held | None) -> Receipt:
        try:
            return await self._issuer.sign_in(self._shown(held))
        except SubjectRejected as error:
            if old is None:
                raise
            refused = error
        # In device flow one session at the provider is one key: where the old sign-in's has it, that is gone on with.
        try:
            receipt = await self._issuer.sign_in(SubjectToken(self._shown(held).token, old.key))
        except SubjectRejected:
            raise refused from None
        held.key = old.key
        return receipt

    async def _seat(self, held: _Held) -> None:
        await self._store.save(_at_rest(self._issuer.url, held))
        held.ends_at = held.receipt.ends_at or None if held.receipt is not None else None
        self._held, self._ended, self._loaded = held, None, True
        self._changed()

    async def _free(self, old: _Held, held: _Held) -> None:
        """Give back the pin of a key that is used no more; the token of the same person's new sign-in says whose it is.

        The old refresh token is only forgotten. Providers tie it to the grant that the new one shares.
        """
        token = held.id_token if _same_person(old, held) else old.id_token
        if token is None or old.key.kid == held.key.kid:
            return
        with suppress(JuniperError, TimeoutError):
            async with asyncio.timeout(GIVE_BACK_TIME):
                await self._issuer.sign_out(SubjectToken(token, old.key))

    async def _drop(self, held: _Held) -> None:
        """A login that failed. Its key is kept for the next one: the issuer may have pinned it before it fell silent.

        Its refresh token is revoked, but for one beside a sign-in that goes on: providers tie both to one grant.
        """
        self._spare = held.key
        if self._held is not None and self._held.name == held.name:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVE_BACK_TIME):
                await self._revoked(held)


def _at_rest(issuer: str, held: _Held) -> StoredSignIn:
    return StoredSignIn(issuer, held.name, held.refresh_token, held.key.to_pem(), held.flow)


def _same_person(old: _Held, new: _Held) -> bool:
    """Whether both are of one person, as far as is known: a sign-in out of the store has not said yet."""
    if old.claims is None or new.claims is None:
        return old.name == new.name
    return old.name == new.name and old.claims.subject == new.claims.subject


def _signed_in(held: _Held) -> SignedIn:
    return SignedIn(
        person=held.claims.person if held.claims else "",
        user_id=held.receipt.user_id if held.receipt else "",
        login=held.receipt.login if held.receipt else "",
        identity=held.name,
        ends_at=held.ends_at or 0.0,
    )
