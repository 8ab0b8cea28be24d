"""How STS reads a web identity token: registered provider, published keys, audience, times, AWS's own claims.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import jwt

from juniperd.sandbox.account import Provider, iso
from juniperd.sandbox.published import FETCH_LIMIT, published
from juniperd.sandbox.sts_errors import StsError, invalid_token, validation

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
GRACE: Final = 300.0
KEYS_LIFE: Final = 300.0
_PREFIX: Final = "https://aws.amazon.com/"
_NO_KEY: Final = (
    "Couldn't retrieve verification key from your identity provider, "
    "please reference AssumeRoleWithWebIdentity documentation for requirements"
)


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """A token that was verified, and the parts of it that STS acts on."""

    provider: Provider
    subject: str
    audience: str
    tags: dict[str, str]
    transitive: tuple[str, ...]
    source_identity: str | None
    roles: tuple[str, ...] | None
    amr: tuple[str, ...]


@dataclass(slots=True)
class _Keys:
    fetched: float
    by_kid: dict[str, jwt.PyJWK]


@dataclass(slots=True)
class TokenReader:
    """Verifies tokens against IAM's providers; keys are kept for a while and fetched again for an unknown `kid`."""

    providers: Callable[[], list[Provider]]
    tls: ssl.SSLContext | None = None
    clock: Callable[[], float] = time.time
    limit: float = FETCH_LIMIT
    _keys: dict[str, _Keys] = field(default_factory=dict)

    async def read(self, token: str) -> WebIdentity:
        """The verified token, or `StsError` with the code that STS gives."""
        header, claims = _unverified(token)
        issuer = claims.get("iss")
        if not isinstance(issuer, str):
            raise invalid_token("The ID Token provided is not a valid JWT. Issuer is missing")
        if not issuer.startswith(("https://", "http://127.0.0.1:")):
            raise invalid_token(
                "The issuer must be an https URL"
            )  # IAM has https alone, a sandbox its own loopback too
        provider = next((row for row in self.providers() if row.url == issuer.partition("://")[2].rstrip("/")), None)
        if provider is None:
            raise invalid_token(f"No OpenIDConnect provider found in your account for {issuer}")
        key = await self._key(issuer, str(header.get("kid", "")))
        _check_signature(token, key, str(header.get("alg")))
        try:
            audience = _audience(claims, provider)
            self._check_times(claims)
            return _identity(provider, audience, claims)
        except (TypeError, AttributeError):
            # A claim of another type than its own: a number for a list, a list for an object.
            raise invalid_token("The ID Token provided is not a valid JWT. A claim has the wrong type") from None

    async def warm(self, issuer: str) -> None:
        """Fetch an issuer's keys ahead of its first token."""
        self._keys[issuer] = _Keys(self.clock(), await self._fetch(issuer))

    async def _key(self, issuer: str, kid: str) -> jwt.PyJWK:
        kept = self._keys.get(issuer)
        if kept is None or kid not in kept.by_kid or self.clock() - kept.fetched > KEYS_LIFE:
            kept = self._keys[issuer] = _Keys(self.clock(), await self._fetch(issuer))
        if kid not in kept.by_kid:
            raise invalid_token(_NO_KEY)
        return kept.by_kid[kid]

    async def _fetch(self, issuer: str) -> dict[str, jwt.PyJWK]:
        try:
            found = await published(issuer, self.tls, limit=self.limit)
            rows = [row for row in found.keys if row.get("use", "sig") == "sig" and row.get("kid")]
            return {str(row["kid"]): jwt.PyJWK(row) for row in rows if row.get("kty") in ("RSA", "EC")}
        except (TimeoutError, ValueError, jwt.PyJWTError):
            raise invalid_token(_NO_KEY) from None
        except aiohttp.ClientError:
            problem = "An error occurred when connecting to the identity provider"
            raise StsError("IDPCommunicationError", problem) from None

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = self.clock()
        for name in ("exp", "iat"):
            if type(claims.get(name)) is not int:
                raise invalid_token(f"The ID Token provided is not a valid JWT. {name} must be an integer")
        if type(claims.get("nbf", 0)) is not int:
            raise invalid_token("The ID Token provided is not a valid JWT. nbf must be an integer")
        if now >= claims["exp"] + GRACE:
            raise StsError(
                "ExpiredTokenException",
                f"Token expired: current date/time {iso(now)} must be before the expiration date/time "
                f"{iso(claims['exp'])}",
            )
        if max(claims["iat"], claims.get("nbf", 0)) > now + GRACE:
            raise invalid_token("The ID Token provided is not valid yet")


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        parts = jwt.decode_complete(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        raise invalid_token("The ID Token provided is not a valid JWT") from None
    header: dict[str, Any] = parts["header"]
    if header.get("alg") not in ALGORITHMS:
        raise invalid_token(f"The ID Token provided is signed with {header.get('alg')}, which is not supported")
    return header, parts["payload"]


def _check_signature(token: str, key: jwt.PyJWK, algorithm: str) -> None:
    try:
        jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            options={"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
    except (jwt.PyJWTError, TypeError):
        raise invalid_token("The ID Token provided has a signature that does not verify") from None


def _audience(claims: dict[str, Any], provider: Provider) -> str:
    given = claims.get("aud")
    audiences = [given] if isinstance(given, str) else [str(one) for one in given or []]
    # With an `azp` that differs from `aud`, STS compares `azp`.
    candidates = [claims["azp"]] if claims.get("azp") not in (None, *audiences) else audiences
    for candidate in candidates:
        if candidate in provider.client_ids:
            return str(candidate)
    raise invalid_token("Incorrect token audience")


def _identity(provider: Provider, audience: str, claims: dict[str, Any]) -> WebIdentity:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise invalid_token("The ID Token provided is not a valid JWT. Subject is missing")
    tags, transitive = _session_tags(claims)
    roles = claims.get(f"{_PREFIX}roles")
    source = claims.get(f"{_PREFIX}source_identity")
    if not isinstance(source, str | None):
        raise invalid_token("The source identity must be a string")
    return WebIdentity(
        provider,
        subject,
        audience,
        tags,
        transitive,
        source_identity=source,
        roles=None if roles is None else tuple([roles] if isinstance(roles, str) else roles),
        amr=tuple(claims.get("amr") or ()),
    )


def _session_tags(claims: dict[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Session tags in their nested and their flattened form."""
    nested = claims.get(f"{_PREFIX}tags") or {}
    found = dict(nested.get("principal_tags") or {})
    transitive = list(nested.get("transitive_tag_keys") or claims.get(f"{_PREFIX}tags/transitive_tag_keys") or [])
    flat = f"{_PREFIX}tags/principal_tags/"
    found |= {name.removeprefix(flat): value for name, value in claims.items() if name.startswith(flat)}
    tags = {}
    for name, given in found.items():
        values = [given] if isinstance(given, str) else list(given)
        if len(values) != 1 or not isinstance(values[0], str):
            raise invalid_token(f"The session tag {name} must have exactly one string value")
        tags[name] = values[0]
    if len(tags) > 50 or any(len(name) > 128 or len(value) > 256 for name, value in tags.items()):
        raise validation("Session tags: at most 50, keys of 128 and values of 256 characters")
    return tags, tuple(transitive)
