"""The person's sign-in at one issuer: made by a device flow, kept alive by a rotating refresh token, ended by logout.

The agent alone owns the refresh token. There is one refresh at a time, nobody can cancel it, and the token that
comes back is stored before anything that came with it is used: a lost one would be a lost sign-in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

from juniperd.errors import (
    ConfigError,
    JuniperError,
    LoginExpired,
    LoginRequired,
    StoreError,
    TokenRejected,
    UpstreamUnreachable,
)
from juniperd.flights import Flights
from juniperd.identity import Provider, SubjectToken, tokens
from juniperd.identity.tokens import ReadClaims
from juniperd.idp_client import IdpClient
from juniperd.jose import SigningKey
from juniperd.login import JoinableLogin, LoginEvent, SignedIn, Tell
from juniperd.model import Clock, Secret
from juniperd.skew import ClockSkew
from juniperd.store import Store, StoredSignIn

REFRESH_AFTER = 240.0
"""Seconds an ID token is used; the issuer takes it for ten minutes, and the refresh is what notices a leaver."""
USABLE_FOR = 540.0
"""Seconds an ID token is still shown where its provider cannot be reached for a new one."""


LOCKED_MEMORY = 30.0
"""Seconds a keyring that could not be opened is left alone: each attempt may cost a tool three."""


class Receipt(Protocol):
    """What showing a sign-in to the issuer answers."""

    @property
    def login(self) -> str:
        """The GitLab login it is linked to."""

    @property
    def user_id(self) -> str:
        """The GitLab user's id."""

    @property
    def ends_at(self) -> float:
        """When the issuer stops taking it."""


class IssuerDoor(Protocol):
    """What a sign-in needs of its issuer."""

    url: str

    async def provider(self, name: str | None) -> Provider:
        """The identity provider to sign in at."""

    async def sign_in_max_age(self) -> float:
        """Seconds a sign-in lasts."""

    async def sign_in(self, subject: SubjectToken) -> Receipt:
        """Pin the key."""

    async def sign_out(self, subject: SubjectToken) -> None:
        """Free the key's pin."""


@dataclass(slots=True)
class _Held:
    """A sign-in in memory; out of the store it knows its provider by name until it is first used."""

    name: str
    key: SigningKey
    refresh_token: Secret
    id_token: Secret | None = None
    claims: ReadClaims | None = None
    received_at: float = 0.0
    ends_at: float | None = None
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class SignInState:
    """What ``status`` and ``whoami`` show; ``state`` is signed-in, ended, locked or signed-out."""

    state: str
    identity: str | None = None
    person: str | None = None
    user_id: str | None = None
    login: str | None = None
    ends_at: float | None = None
    reason: str | None = None


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
        self._locked_until = 0.0
        self._ended: str | None = None
        self._cure: str | None = None
        self._flights: Flights[str, None] = Flights()
        self._turn = asyncio.Lock()
        self._login: JoinableLogin | None = None

    @property
    def identity(self) -> str | None:
        """What tells this sign-in from every other: its key's thumbprint; ``None`` while there is none in memory."""
        return self._held.key.kid if self._held is not None else None

    async def wake(self) -> str:
        """Take the sign-in out of the store, once; its :attr:`identity`, else :class:`LoginRequired`."""
        if self._held is None and not self._loaded:
            if self._clock() < self._locked_until and self._locked is not None:
                raise self._locked
            await self._flights.join("load", self._load)
        return self._holding().key.kid

    async def subject(self, *, fresh: bool = False) -> SubjectToken:
        """The ID token to show and the key to prove it with; refreshed where it is older than four minutes."""
        await self.wake()
        age = self._age(self._holding())
        if fresh or not self._young(self._holding()):
            try:
                await self._flights.join("refresh", self._refresh)
            except UpstreamUnreachable as error:
                if not 0 <= age < USABLE_FOR:
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

    def login(self, *, identity: str | None = None, flow: str | None = None) -> AsyncGenerator[LoginEvent, None]:
        """Sign in, or join the sign-in under way; the last event is :class:`SignedIn`."""
        if self._login is None or not self._login.open:
            self._login = JoinableLogin(lambda tell: self._run_login(tell, identity, flow))
        return self._login.listen()

    async def logout(self) -> tuple[str, ...]:
        """Free the pin, revoke the refresh token, forget everything here; what could not be done comes back as text."""
        await self.wake()
        notes: list[str] = []
        try:
            await self._issuer.sign_out(await self.subject())
        except JuniperError as error:
            notes.append(f"the issuer was not told: {error.message}")
        async with self._turn:
            held = self._held
            if held is not None and (problem := await self._revoked(held)) is not None:
                notes.append(f"the refresh token was not revoked: {problem}")
            await self._forget(None)
        return tuple(notes)

    def abandon_login(self) -> None:
        """End a login under way; those who wait for it are told."""
        if self._login is not None and self._login.open:
            self._login.abandon()

    async def close(self) -> None:
        """Let a refresh land: its new token must not be lost."""
        await self._flights.drain(2.0)

    # --- kept alive ---------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        try:
            stored = await self._store.load(self._issuer.url)
        except StoreError as error:
            # A sign-in may lie there: the person is told to unlock, and asked again only after a while.
            self._locked, self._locked_until = error, self._clock() + LOCKED_MEMORY
            raise
        if stored is not None:
            try:
                key = SigningKey.from_pem(stored.key_pem.reveal().encode())
            except TokenRejected:
                await self._store.delete(self._issuer.url)
            else:
                self._held = _Held(stored.provider, key, stored.refresh_token)
        self._loaded = True

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
        async with self._turn:
            await self._renew(self._holding())

    async def _renew(self, held: _Held) -> None:
        if held.ends_at is not None and self._now() >= held.ends_at:
            raise await self._end("the sign-in has reached its end")
        provider = await self._issuer.provider(held.name)
        try:
            body = await self._idp.refresh(provider, held.refresh_token)
        except LoginExpired as error:
            await self._forget(error.message, error.remedy)
            raise
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

    async def _end(self, reason: str) -> LoginExpired:
        """The sign-in is over; the error that says so."""
        await self._forget(reason)
        return LoginExpired(reason)

    async def _forget(self, reason: str | None, cure: str | None = None) -> None:
        """Drop the sign-in here and at rest; ``reason`` is what a person reads later, ``None`` after a logout."""
        self._held = None
        self._ended, self._cure = reason, cure
        self._loaded = True
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
            await self._idp.revoke(await self._issuer.provider(held.name), held.refresh_token)
        except JuniperError as error:
            return error.message
        return None

    # --- made ---------------------------------------------------------------------------------------------------------

    async def _run_login(self, tell: Tell, identity: str | None, flow: str | None) -> SignedIn:
        provider = await self._issuer.provider(identity)
        if (flow or provider.flow) == "browser":
            msg = "this juniperd signs in by device flow only"
            raise ConfigError(msg, "run: juniper login --device")
        refresh_token, id_token, claims = await self._idp.device(provider, tell)
        held = _Held(provider.name, SigningKey.generate_es256(), refresh_token, id_token, claims, self._now())
        # From here on a person who leaves no longer interrupts it half-way.
        await self._flights.join("adopt", lambda: self._adopt(held))
        return _signed_in(held)

    async def _adopt(self, held: _Held) -> None:
        async with self._turn:
            await self._free_old_pin()
            await self._store.save(_at_rest(self._issuer.url, held))
            try:
                held.receipt = await self._issuer.sign_in(self._shown(held))
            except JuniperError:
                await self._forget(None)
                await self._revoked(held)
                raise
            held.ends_at = held.receipt.ends_at or None
            self._held, self._ended, self._loaded = held, None, True
            self._changed()

    async def _free_old_pin(self) -> None:
        """A sign-in that this one replaces gives its pin back first: one IdP session is one pin in device flow.

        Its refresh token is only forgotten. Providers tie it to the grant that the new one shares.
        """
        old = self._held
        if old is None:
            return
        try:
            if not self._young(old):
                await self._renew(old)
            await self._issuer.sign_out(self._shown(old))
        except JuniperError:
            # An old sign-in that is already dead has no pin that could be in the way.
            return


def _at_rest(issuer: str, held: _Held) -> StoredSignIn:
    return StoredSignIn(issuer, held.name, held.refresh_token, held.key.to_pem())


def _signed_in(held: _Held) -> SignedIn:
    return SignedIn(
        person=held.claims.person if held.claims else "",
        user_id=held.receipt.user_id if held.receipt else "",
        login=held.receipt.login if held.receipt else "",
        identity=held.name,
        ends_at=held.ends_at or 0.0,
    )
