"""A provider in another's shape, a person's agent before it, and the issuer's own judgement of what it sends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from juniperd.errors import SubjectRejected
from juniperd.http import Http
from juniperd.identity import SubjectToken, plug
from juniperd.idp_client import IdpClient
from juniperd.issuer import config as issuer_config
from juniperd.issuer.subject import Subject, Subjects, stale
from juniperd.jose import VerifiedClaims
from juniperd.jwks import KeySets
from juniperd.login import device_client
from juniperd.signin import SignIn
from juniperd.skew import ClockSkew
from juniperd.store import Store
from tests.issuer.doubles import write_files

from .person import LIFE, Door, Person, Receipt, Vault
from .provider import Peer, serving
from .turns import Turns

TENANT = "6a1f2b3c-0000-4d5e-8f90-0123456789ab"
OID = "00112233-4455-6677-8899-aabbccddeeff"
KIND_OF = {"okta-org": "okta", "okta-custom": "okta", "entra": "entra"}
Clock = Callable[[], float]


def off(seconds: float) -> Clock:
    """A clock that is wrong by so much."""
    return lambda: time.time() + seconds


@dataclass(slots=True)
class StrictDoor(Door):
    """The issuer with its real configuration and its real reading of subject tokens; only GitLab is missing."""

    subjects: Subjects | None = None
    clock: Clock = time.time
    seen: list[Subject] = field(default_factory=list)

    async def judged(self, token: str, thumbprint: str = "key") -> Subject:
        """Who the issuer says that this is."""
        assert self.subjects is not None
        subject = await self.subjects.verify(token, thumbprint)
        self.seen.append(subject)
        return subject

    async def verified(self, subject: SubjectToken) -> VerifiedClaims:
        """As the parent, by the issuer's own code."""
        found = await self.judged(subject.token.reveal(), subject.key.kid)
        return VerifiedClaims({"preferred_username": found.key, "auth_time": found.auth_time})

    async def sign_in(self, subject: SubjectToken) -> Receipt:
        """Verify, refuse what is old, then pin."""
        found = await self.judged(subject.token.reveal(), subject.key.kid)
        refused = stale(found, now=self.clock())
        if refused is not None:
            raise SubjectRejected(refused.text)
        self.pinned.append(subject.key.kid)
        return Receipt(found.key, "7", (found.auth_time or 0.0) + LIFE)


@dataclass(slots=True)
class Shaped:
    """Makes people at one provider."""

    peer: Peer
    folder: Path
    shape: str

    def person(self, *, agent: Clock = time.time, issuer: Clock = time.time, vault: Vault | None = None) -> Person:
        """A person whose agent and issuer have clocks of their own."""
        config = issuer_config.load(self._configuration())
        skew = ClockSkew(agent)
        keys = KeySets(self.peer.http, clock=issuer)
        door = StrictDoor(self.peer.described(), keys, subjects=Subjects(config, keys), clock=issuer)
        idp = IdpClient(self.peer.http, KeySets(self.peer.http, clock=agent), clock=agent, skew=skew)
        held, changes = vault or Vault(), list[float]()
        store = Store("keyring", open_vault=lambda: held)
        sign_in = SignIn(door, idp, store=store, clock=agent, skew=skew, changed=lambda: changes.append(agent()))
        return Person(self.peer, idp, door, held, sign_in, changes)

    async def flow(self, turns: Turns, during: object = None) -> dict[str, object]:
        """A device flow turn by turn; the person approves in the first wait unless told otherwise."""
        metadata = await KeySets(self.peer.http, clock=time.time).metadata(self.peer.issuer)
        client = device_client(self.peer.described(), plug(self.peer.kind).endpoints(metadata))
        answer = await turns.run(client, during if isinstance(during, dict) else {1: self.peer.decide})
        assert isinstance(answer, dict)
        return answer

    async def id_token(self, **claims: object) -> str:
        """An ID token with these claims, signed by the provider; ``None`` takes one out."""
        await self.peer.mode(claims=claims)
        return str((await self.flow(Turns(self.peer.http)))["id_token"])

    def _configuration(self) -> Path:
        path = write_files(self.folder, gitlab="http://127.0.0.1:1", idp=self.peer.issuer)
        kind = KIND_OF[self.shape]
        text = path.read_text().replace('kind = "oidc"', f'kind = "{kind}"')
        path.write_text(text.replace('provider = "oidc", claim = "sub"', f'provider = "{kind}"'))
        return path


@contextmanager
def shaped(folder: Path, http: Http, shape: str, **options: object) -> Iterator[Shaped]:
    """A provider of that shape, to the end of the block."""
    with serving(**{"shape": shape, "tenant": TENANT, "oid": OID, "interval": 0.01, **options}) as url:
        yield Shaped(Peer(url, http, KIND_OF[shape]), folder, shape)
