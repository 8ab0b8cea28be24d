"""The person's sign-in at one issuer: made by a flow, shown to the issuer, ended by logout; a keeper renews it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from juniperd.adoption import Adoption
from juniperd.errors import (
    JuniperError,
    LoginDeclined,
    LoginRequired,
    ProviderRefused,
    StoreError,
    UpstreamError,
    UpstreamUnreachable,
)
from juniperd.held import HeldSignIn
from juniperd.identity import SubjectToken
from juniperd.identity.browser import bound_nonce
from juniperd.identity.tokens import Tokens
from juniperd.idp_client import IdpClient
from juniperd.keeper import Keeper
from juniperd.login import JoinableLogin, LoginEvent, Refusal, SignedIn, Tell
from juniperd.model import Clock, Secret
from juniperd.skew import ClockSkew
from juniperd.standing import IssuerDoor, SignInState
from juniperd.store import Store

REFRESH_PATIENCE = 2.0
"""Seconds a caller waits for a newer ID token where the one at hand still counts."""


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
        self._issuer = issuer
        self._idp = idp
        self._clock = clock
        self._keeper = Keeper(issuer, idp, store=store, clock=clock, skew=skew, changed=changed)
        self._adoption = Adoption(issuer, self._keeper)
        self._login: JoinableLogin | None = None
        self._flow: str | None = None
        self._refusal: Refusal | None = None

    @property
    def identity(self) -> str | None:
        """What tells this sign-in from every other: its key's thumbprint; ``None`` while there is none in memory."""
        held = None if self._keeper.locked else self._keeper.held
        return held.key.kid if held is not None else None

    async def wake(self) -> str:
        """Take the sign-in out of the store, once; its :attr:`identity`, else :class:`LoginRequired`."""
        return (await self._keeper.wake()).key.kid

    async def subject(self, *, fresh: bool = False) -> SubjectToken:
        """The ID token to show and the key to prove it with; refreshed where it is older than four minutes."""
        await self._keeper.wake()
        if fresh or not self._keeper.young():
            try:
                # Who has a token that still counts does not wait for a slow provider; the refresh goes on.
                async with asyncio.timeout(REFRESH_PATIENCE if self._keeper.usable() else None):
                    await self._keeper.refresh()
            except TimeoutError:
                pass
            except UpstreamError as error:
                if not self._keeper.usable() or isinstance(error, ProviderRefused):
                    if not isinstance(error, UpstreamUnreachable):
                        raise
                    msg = f"the sign-in cannot be renewed ({error.message})"
                    named = error.remedy != UpstreamUnreachable.remedy
                    cure = error.remedy if named else "check your network, then try again"
                    raise UpstreamUnreachable(msg, cure, host=error.host) from None
        # Woken again, for it may have been locked meanwhile.
        return (await self._keeper.wake()).subject

    @property
    def locked(self) -> bool:
        """Whether the person locked it; a new process would know nothing of that."""
        return self._keeper.locked

    def at_hand(self) -> SubjectToken | None:
        """The token to show, where memory has one that still counts; nobody is asked."""
        held = self._keeper.held
        return held.subject if held is not None and self._keeper.usable() else None

    async def state(self) -> SignInState:
        """The state, without asking anybody outside."""
        if self._keeper.locked:
            return SignInState("locked", reason="locked by juniper lock")
        try:
            held = await self._keeper.wake()
        except LoginRequired:
            return SignInState("ended" if self._keeper.ended else "signed-out", reason=self._keeper.ended)
        except StoreError as error:
            return SignInState("keyring-locked", reason=str(error))
        return held.state(self._keeper.now())

    def login(
        self, *, identity: str | None = None, flow: str | None = None, auto: str | None = None, again: bool = False
    ) -> AsyncGenerator[LoginEvent, None]:
        """Sign in, or join the sign-in under way; the last event is :class:`SignedIn`.

        ``flow`` overrides what the identity's configuration prefers; ``auto`` is what ``auto`` means where the person
        sits. Who asks for the other flow by name ends the one under way. A no is remembered for a while, and tells who
        asks for the same flow; ``again`` asks the person all the same.
        """
        running = self._login if self._login is not None and self._login.open else None
        if running is not None and flow is not None and self._flow not in {None, flow}:
            running.abandon()
            running = None
        if running is not None:
            return running.listen(joined=True)
        refusal, now = self._refusal, self._clock()
        if not again and refusal is not None and refusal.holds(flow, now):
            return JoinableLogin(lambda _tell: refusal.told(now)).listen()
        self._flow = flow
        self._login = JoinableLogin(lambda tell: self._run_login(tell, identity, flow, auto))
        return self._login.listen()

    async def logout(self) -> tuple[str, ...]:
        """Free the pin, revoke the refresh token, forget everything here; what could not be done comes back as text."""
        if self._keeper.locked:
            await self._keeper.unlock()
        await self._keeper.wake()
        notes: list[str] = []
        try:
            await self._issuer.sign_out(await self.subject())
        except JuniperError as error:
            notes.append(f"the issuer was not told: {error.message}")
        async with self._keeper.turn():
            await self._keeper.catch_up()
            held = self._keeper.held
            if held is not None and (problem := await self._keeper.revoked(held)) is not None:
                notes.append(f"the refresh token was not revoked: {problem}")
            await self._keeper.forget(None)
        return tuple(notes)

    async def lock(self) -> bool:
        """Forget refresh and ID token in memory, until :meth:`unlock`; false where unlocking takes a new sign-in."""
        self.abandon_login()
        only_copy = await self._keeper.lock()
        if only_copy is not None:
            self._adoption.keep_key(only_copy.key)
        return only_copy is None

    async def unlock(self) -> None:
        """Take it out of the keyring again; :class:`LoginRequired` where it does not rest there."""
        await self._keeper.unlock()

    def abandon_login(self) -> None:
        """End a login under way; those who wait for it are told."""
        if self._login is not None and self._login.open:
            self._login.abandon()

    @property
    def occupied(self) -> bool:
        """Whether a login, or work that somebody will ask for, is under way."""
        signing_in = self._login is not None and self._login.open
        return signing_in or self._keeper.occupied or self._adoption.occupied

    async def close(self) -> None:
        """Let what is under way land."""
        await self._keeper.close()
        await self._adoption.close()

    async def _run_login(self, tell: Tell, identity: str | None, flow: str | None, auto: str | None) -> SignedIn:
        try:
            signed_in = await self._sign_in(tell, identity, flow, auto)
        except LoginDeclined as error:
            self._refusal = Refusal(flow, error, self._clock())
            raise
        self._refusal = None
        return signed_in

    async def _sign_in(self, tell: Tell, identity: str | None, flow: str | None, auto: str | None) -> SignedIn:
        provider = await self._issuer.provider(identity)
        preferred = auto if provider.flow == "auto" else provider.flow
        self._flow = chosen = "browser" if (flow or preferred) == "browser" else "device"
        key = self._adoption.key()

        def made(received: tuple[Secret, Tokens]) -> HeldSignIn:
            held = HeldSignIn(provider.name, key, received[0], chosen, bound_to=key if received[1].bound else None)
            held.receive(received[1], self._keeper.now())
            return held

        if chosen == "device":
            return await self._adoption.adopted(made(await self._idp.device(provider, tell, key=key)), tell)
        nonce, max_age = bound_nonce(self._issuer.url, key.kid), provider.sign_in_max_age
        async with self._idp.browser(provider, tell, key=key, nonce=nonce, max_age=max_age) as received:
            return await self._adoption.adopted(made(received), tell)
