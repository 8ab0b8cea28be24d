"""What a provider's token endpoint answers, read; and the forms it is asked with (RFC 6749, RFC 7009).

The ID token is read here without checking its signature: it came from the token endpoint over TLS (OpenID Connect
Core section 3.1.3.7 item 6), and the agent decides nothing by it. The issuer verifies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from juniperd import unverified
from juniperd.errors import LoginExpired, LoginRequired, one_line
from juniperd.identity import Provider, plug
from juniperd.model import Secret
from juniperd.unverified import UnverifiedClaims

_LONGEST = 3_600_000_000.0
"""Seconds; what is longer is no forecast, and no date either."""


@dataclass(frozen=True, slots=True)
class ReadClaims:
    """Claims of an ID token that nobody verified: for planning and display only."""

    subject: str
    issued_at: float
    expires_at: float
    auth_time: float
    person: str
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Tokens:
    """One answer of the token endpoint; ``refresh_token`` is ``None`` where the old one stays in use."""

    id_token: Secret
    claims: ReadClaims
    refresh_token: Secret | None
    lasts: float | None = None
    """Seconds for which the provider says that it takes the refresh token; ``None`` where it does not say."""
    bound: bool = False
    """Whether the tokens are bound to the key of the proof that came with the request (RFC 9449 section 5)."""


def refresh_form(client_id: str, refresh_token: Secret) -> dict[str, str]:
    """RFC 6749 section 6; without ``scope``, which means all of what was granted."""
    return {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal(), "client_id": client_id}


def revoke_form(client_id: str, refresh_token: Secret) -> dict[str, str]:
    """RFC 7009 section 2.1."""
    return {"token": refresh_token.reveal(), "token_type_hint": "refresh_token", "client_id": client_id}


def new_refresh_token(body: Mapping[str, object]) -> Secret | None:
    """The rotated refresh token, if one came: it is stored before anything else in the answer is looked at."""
    value = body.get("refresh_token")
    return Secret(value) if isinstance(value, str) and value else None


def read_tokens(body: Mapping[str, object], provider: Provider) -> Tokens:
    """The answer's ID token, or the name of the setting that keeps one from coming."""
    id_token = body.get("id_token")
    if not isinstance(id_token, str) or not id_token:
        msg = f"{provider.display_name} sent no ID token"
        raise LoginExpired(
            msg, "allow the scope openid for this client at the identity provider, then run: juniper login"
        )
    payload = _payload(id_token)
    auth_time = unverified.moment(payload, "auth_time")
    if auth_time is None:
        msg = f"{provider.display_name} sent an ID token without auth_time"
        raise LoginExpired(msg, f"{plug(provider.kind).AUTH_TIME}, then run: juniper login")
    claims = ReadClaims(
        subject=_subject(payload, provider),
        issued_at=unverified.moment(payload, "iat") or 0.0,
        expires_at=unverified.moment(payload, "exp") or 0.0,
        auth_time=auth_time,
        person=_person(payload),
        nonce=unverified.text(payload, "nonce") or "",
    )
    return Tokens(Secret(id_token), claims, new_refresh_token(body), _lasts(body), _bound(body))


def _bound(body: Mapping[str, object]) -> bool:
    kind = body.get("token_type")
    return isinstance(kind, str) and kind.lower() == "dpop"


def _lasts(body: Mapping[str, object]) -> float | None:
    """By the name that most use, or Keycloak's; RFC 6749 has none. Keycloak says 0 for ever."""
    for name in ("refresh_token_expires_in", "refresh_expires_in"):
        value = body.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _LONGEST:
            return float(value)
    return None


def _payload(token: str) -> UnverifiedClaims:
    payload = unverified.read(token)
    if payload is None:
        msg = "the identity provider sent an ID token that cannot be read"
        raise LoginRequired(msg)
    return payload


def _subject(payload: UnverifiedClaims, provider: Provider) -> str:
    subject = unverified.text(payload, "sub")
    if payload.get("iss") != provider.issuer or subject is None:
        msg = f"the ID token is not one of {provider.issuer}"
        raise LoginRequired(msg)
    return subject


def _person(payload: UnverifiedClaims) -> str:
    named = (unverified.text(payload, name) for name in ("preferred_username", "email", "name", "sub"))
    return one_line(next((name for name in named if name), ""), 100)
