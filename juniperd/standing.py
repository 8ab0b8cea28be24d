"""A person's standing at an issuer: what is shown of it, and what a sign-in needs of the issuer to have it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from juniperd.identity import Provider, SubjectToken

SOON = 3600.0
"""Seconds before the end from which on ``status`` warns: what is begun now may not be finished."""
VERY_SOON = 600.0
"""Seconds before the end at which who was warned is warned once more."""


@dataclass(frozen=True, slots=True)
class SignInState:
    """What ``status`` and ``whoami`` show; ``state`` is signed-in, ended, locked, keyring-locked or signed-out."""

    state: str
    identity: str | None = None
    person: str | None = None
    user_id: str | None = None
    login: str | None = None
    bound: bool = False
    """Whether the refresh token is worth nothing without the key (RFC 9449)."""
    ends_at: float | None = None
    ends_by: str | None = None
    """What ends it then: ``sign_in_max_age``, or ``identity provider``."""
    seconds_left: float | None = None
    reason: str | None = None

    @property
    def warning(self) -> str | None:
        """One clause where the end is near."""
        if self.seconds_left is None or self.seconds_left >= SOON:
            return None
        return f"the sign-in ends in {max(self.seconds_left, 0) / 60:.0f} min, then run: juniper login"


@dataclass(frozen=True, slots=True)
class Forewarned:
    """Who was told of an end, so that one is told twice at most: an hour before, and ten minutes before."""

    _told: dict[str, frozenset[float]] = field(default_factory=dict)

    def due(self, issuer: str, seconds_left: float | None) -> bool:
        """Whether it is time to say so; from then on it counts as said. A later end is warned of anew."""
        passed = frozenset(at for at in (SOON, VERY_SOON) if seconds_left is not None and seconds_left < at)
        told, self._told[issuer] = self._told.get(issuer, frozenset()), passed
        return bool(passed - told)


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

    async def sign_in(self, subject: SubjectToken) -> Receipt:
        """Pin the key."""

    async def sign_out(self, subject: SubjectToken) -> None:
        """Free the key's pin."""
