"""A person with an agent's sign-in before an independent provider: an issuer's door and a keyring of the test's own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from juniperd.identity import Provider, SubjectToken
from juniperd.idp_client import IdpClient
from juniperd.jose import VerifiedClaims, person_profile
from juniperd.jwks import KeySets
from juniperd.login import CodeShown, LinkShown, SignedIn
from juniperd.signin import SignIn
from juniperd.skew import ClockSkew
from juniperd.store import Store

from .browser import Hands
from .provider import Peer

AT_ISSUER = "https://issuer.test"
LIFE = 43_200.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the door answers to a sign-in."""

    login: str
    user_id: str
    ends_at: float


@dataclass(slots=True)
class Door:
    """The issuer as a sign-in meets it: it takes a token only if the issuer's strict verifier does."""

    provided: Provider
    keys: KeySets
    url: str = AT_ISSUER
    pinned: list[str] = field(default_factory=list)

    async def provider(self, name: str | None) -> Provider:
        """The one there is."""
        assert name in {None, self.provided.name}
        return self.provided

    async def sign_in(self, subject: SubjectToken) -> Receipt:
        """Verify, then pin."""
        claims = await self.verified(subject)
        self.pinned.append(subject.key.kid)
        return Receipt(str(claims["preferred_username"]), "7", float(str(claims["auth_time"])) + LIFE)

    async def sign_out(self, subject: SubjectToken) -> None:
        """Free the pin."""
        await self.verified(subject)
        self.pinned.remove(subject.key.kid)

    async def verified(self, subject: SubjectToken) -> VerifiedClaims:
        """The claims, as the issuer reads them."""
        clients = frozenset({self.provided.device_client_id, self.provided.client_id})
        profile = person_profile(self.provided.issuer, clients, 3900.0)
        return await self.keys.verify(subject.token.reveal(), profile)


Entry = dict[str, Any]
"""What rests in a keyring, as JSON."""


@dataclass(slots=True)
class Vault:
    """A keyring in memory; ``before_write`` may hold a write up, and is told what would be written."""

    entries: dict[str, str] = field(default_factory=dict)
    writes: int = 0
    before_write: Callable[[Entry], None] = lambda _entry: None

    def get_password(self, service: str, username: str) -> str | None:
        """The entry, or ``None``."""
        del service
        return self.entries.get(username)

    def set_password(self, service: str, username: str, password: str) -> None:
        """Write, once it may."""
        del service
        self.before_write(json.loads(password))
        self.entries[username] = password
        self.writes += 1

    def delete_password(self, service: str, username: str) -> None:
        """Remove the entry."""
        del service
        del self.entries[username]


@dataclass(slots=True)
class Person:
    """Somebody with a laptop."""

    peer: Peer
    idp: IdpClient
    door: Door
    vault: Vault
    sign_in: SignIn
    changes: list[float]
    """When the sign-in began or ended."""

    @classmethod
    def at(cls, peer: Peer, idp: IdpClient, *, vault: Vault | None = None, client: str = "") -> Person:
        """A person at a provider; with a vault that already holds something, one whose agent was restarted."""
        provider = peer.described(client=client) if client else peer.described()
        keys = KeySets(peer.http, clock=time.time)
        held = vault or Vault()
        store = Store("keyring", open_vault=lambda: held)
        door = Door(replace(provider), keys)
        changes: list[float] = []
        sign_in = SignIn(
            door,
            idp,
            store=store,
            clock=time.time,
            skew=ClockSkew(time.time),
            changed=lambda: changes.append(time.time()),
        )
        return cls(peer, idp, door, held, sign_in, changes)

    async def login(self, decision: str = "allow", *, sub: str = "u-developer") -> SignedIn:
        """Run the device flow, and answer its code on the provider's page."""
        async for event in self.sign_in.login():
            if isinstance(event, CodeShown):
                await self.peer.decide(event.show.user_code, decision, sub=sub)
            elif isinstance(event, SignedIn):
                return event
        raise AssertionError("the login ended without a result")

    async def browse(self, hands: Hands) -> SignedIn:
        """Run the browser flow; ``hands`` do what the browser and the person in front of it do."""
        async for event in self.sign_in.login(flow="browser"):
            if isinstance(event, LinkShown):
                await hands.take(event.url)
            elif isinstance(event, SignedIn):
                await hands.rest()
                return event
        raise AssertionError("the login ended without a result")

    @property
    def stored(self) -> str:
        """The refresh token at rest."""
        return str(self.rests["refresh_token"])

    @property
    def rests(self) -> Entry:
        """Everything at rest."""
        entry: Entry = json.loads(self.vault.entries[AT_ISSUER])
        return entry

    def restarted(self) -> Person:
        """The same person after the agent was ended and started again."""
        return Person.at(self.peer, self.idp, vault=self.vault)
