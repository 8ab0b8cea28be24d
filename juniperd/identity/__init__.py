"""Who the person is: one file per provider; flows are generators that touch no network.

A provider is a module of this folder with a ``KIND``; it reads endpoints out of the provider's metadata and knows
the words in which that provider says no.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from juniperd.errors import ConfigError
from juniperd.jose import SigningKey
from juniperd.model import Secret


@dataclass(frozen=True, slots=True)
class Provider:
    """One identity provider, as the issuer's ``/.well-known/juniper`` describes it."""

    name: str
    kind: str
    issuer: str
    client_id: str
    device_client_id: str
    scopes: tuple[str, ...]
    flow: str
    display_name: str
    sign_in_max_age: float = 12 * 3600.0
    """Seconds after the person signed in at which the issuer stops taking it."""

    def client_of(self, flow: str) -> str:
        """The client id that signs in by this flow, and renews what it signed in."""
        return self.client_id if flow == "browser" else self.device_client_id


@dataclass(frozen=True, slots=True)
class SubjectToken:
    """A person's ID token and the key that proves who shows it (RFC 9449)."""

    token: Secret
    key: SigningKey


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider is asked; ``None`` where it has no such endpoint."""

    token: str
    device: str | None
    revocation: str | None
    authorization: str | None = None
    answers_with_issuer: bool = False
    """Whether an answer to the browser names its issuer (RFC 9207 section 3)."""
    takes_proofs: bool = False
    """Whether the token endpoint binds tokens to keys of our kind (RFC 9449 section 5.1)."""


@dataclass(frozen=True, slots=True)
class ErrorRead:
    """A provider's error answer as one clause; where its own code says more, what is wrong and who cures it."""

    said: str
    problem: str | None = None
    cure: str | None = None


class ProviderPlug(Protocol):
    """What a provider's module offers."""

    KIND: str
    DECLINED: frozenset[str]
    """Error codes that mean: the person said no."""
    EXPIRED: frozenset[str]
    """Error codes that mean: the device code has run out."""
    ENDED: frozenset[str]
    """Error codes of a refresh that mean: the sign-in is over, and only the person can make a new one."""
    GRACE: float
    """Seconds in which a used refresh token is taken again: infinite where it always is, 0 where that is unknown."""
    UNCONFIRMED: str
    """The cure where nobody confirmed the device code in time."""
    AUTH_TIME: str
    """What makes the provider send ``auth_time``, up to the comma before "then run: juniper login"."""

    def endpoints(self, metadata: Mapping[str, object]) -> Endpoints:
        """The endpoints in a discovery document; a malformed one is a :class:`ConfigError`."""

    def error(self, body: object, fallback: str) -> ErrorRead:
        """An error answer in this provider's vocabulary; ``fallback`` where there is nothing to be read."""

    def browser_error(self, body: object, fallback: str) -> ErrorRead:
        """The same for a sign-in by browser, whose cures are others."""


def discover() -> Mapping[str, ProviderPlug]:
    """Every provider of this folder by its kind."""
    found: dict[str, ProviderPlug] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        if hasattr(module, "KIND"):
            found[module.KIND] = cast("ProviderPlug", module)
    return found


def error_of(kind: str, flow: str) -> Callable[[object, str], ErrorRead]:
    """How the errors of that provider are read for a sign-in by this flow."""
    words = plug(kind)
    return words.browser_error if flow == "browser" else words.error


def plug(kind: str) -> ProviderPlug:
    """The provider of that kind."""
    found = discover()
    if kind not in found:
        msg = f"identity provider of unknown kind '{kind}'"
        raise ConfigError(msg, "update juniperd to the version your issuer asks for")
    return found[kind]
