"""A sign-in in memory, as a value with a few moving parts, and what of it rests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from juniperd.errors import LoginRequired
from juniperd.identity import SubjectToken
from juniperd.identity.tokens import ReadClaims, Tokens
from juniperd.jose import SigningKey
from juniperd.model import Secret
from juniperd.standing import SignInState
from juniperd.store import StoredSignIn

OVER = "the sign-in has reached its end"
MAX_AGE = "sign_in_max_age"
PROVIDER = "identity provider"
"""Whose the end is: the issuer's setting, or what the provider said of its refresh token."""


@dataclass(slots=True)
class HeldSignIn:
    """One person's sign-in at one provider; out of the store it knows no ID token until it is first used."""

    name: str
    key: SigningKey
    refresh_token: Secret
    flow: str = "device"
    id_token: Secret | None = None
    claims: ReadClaims | None = None
    received_at: float = 0.0
    ends_at: float | None = None
    """When the issuer stops taking it: ``sign_in_max_age`` after the person signed in."""
    lasts_until: float | None = None
    """When the provider stops renewing it, where it said so; each renewal may move that."""
    user_id: str = ""
    login: str = ""
    bound_to: SigningKey | None = None
    """The key that the provider wants to see proofs of with the refresh token; not ``key`` where that was kept from the
    sign-in before."""
    tries: int = 0
    """How often the refresh token has gone out without an answer that was stored; it may be spent."""

    @classmethod
    def from_rest(cls, stored: StoredSignIn) -> Self:
        """What rested; :class:`TokenRejected` where its key cannot be read."""
        return cls(
            stored.provider,
            SigningKey.from_pem(stored.key_pem.reveal().encode()),
            stored.refresh_token,
            stored.flow,
            ends_at=stored.ends_at,
            user_id=stored.user_id,
            login=stored.login,
            bound_to=_key(stored.bound_to_pem),
            tries=stored.tries,
        )

    def at_rest(self, issuer: str) -> StoredSignIn:
        """What is needed to go on with it after a restart."""
        return StoredSignIn(
            issuer,
            self.name,
            self.refresh_token,
            self.key.to_pem(),
            self.flow,
            ends_at=self.ends_at,
            user_id=self.user_id,
            login=self.login,
            bound_to_pem=None if self.bound_to is None else self.bound_to.to_pem(),
            tries=self.tries,
        )

    def take_over(self, stored: StoredSignIn) -> bool:
        """Go on with what another agent of this person stored since; false where that is another sign-in."""
        if stored.key_pem != self.key.to_pem():
            return False
        self.refresh_token, self.tries, self.bound_to = stored.refresh_token, stored.tries, _key(stored.bound_to_pem)
        return True

    def receive(self, received: Tokens, now: float) -> None:
        """Go on with the ID token that came, and with what came beside it."""
        self.id_token, self.claims, self.received_at = received.id_token, received.claims, now
        self.lasts_until = None if received.lasts is None else now + received.lasts

    def state(self, now: float) -> SignInState:
        """What is shown of it: the earlier end, and whose it is."""
        if self.ends_at is not None and now >= self.ends_at:
            return SignInState("ended", identity=self.name, reason=OVER)
        ends = [(at, by) for at, by in ((self.ends_at, MAX_AGE), (self.lasts_until, PROVIDER)) if at is not None]
        ends_at, ends_by = min(ends, default=(None, None))
        return SignInState(
            state="signed-in",
            identity=self.name,
            person=self.claims.person if self.claims else None,
            user_id=self.user_id or None,
            login=self.login or None,
            bound=self.bound_to is not None,
            ends_at=ends_at,
            ends_by=ends_by,
            seconds_left=None if ends_at is None else ends_at - now,
        )

    @property
    def subject(self) -> SubjectToken:
        """The ID token and the key that proves it."""
        if self.id_token is None:
            msg = "the sign-in has no ID token"
            raise LoginRequired(msg)
        return SubjectToken(self.id_token, self.key)

    def age(self, now: float) -> float:
        """Seconds since the ID token was issued; negative where there is none. ``now`` is the servers' clock."""
        return now - self.claims.issued_at + 1.0 if self.claims is not None else -1.0

    def same_person(self, other: HeldSignIn) -> bool:
        """Whether both are of one person, as far as is known: a sign-in out of the store has not said yet."""
        if self.claims is None or other.claims is None:
            return self.name == other.name
        return self.name == other.name and self.claims.subject == other.claims.subject


def _key(pem: Secret | None) -> SigningKey | None:
    return None if pem is None else SigningKey.from_pem(pem.reveal().encode())
