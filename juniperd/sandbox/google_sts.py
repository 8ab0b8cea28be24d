"""Google's token service: a token of a provider's issuer becomes an access token of the pool's principal.

https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import jwt

from juniperd.sandbox import google_cel
from juniperd.sandbox.google_cloud import LONGEST_SUBJECT, Cloud, Provider
from juniperd.sandbox.published import published

ALGORITHMS: Final = ("RS256", "ES256")
LIFE: Final = 3599.0
OLDEST: Final = 24 * 3600.0
KEYS_LIFE: Final = 300.0
_TYPE: Final = "urn:ietf:params:oauth:token-type:"
_OURS: Final = "//iam.googleapis.com/"


class GoogleStsError(Exception):
    """A refusal: OAuth's code with a text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


@dataclass(frozen=True, slots=True)
class Access:
    """What an access token stands for: everything that IAM may call its bearer, for what, and until when."""

    members: frozenset[str]
    scopes: frozenset[str]
    ends_at: float
    subject: str = ""


@dataclass(slots=True)
class Tokens:
    """The access tokens that are out; opaque, so nobody but this cloud reads them."""

    clock: Callable[[], float]
    _rows: dict[str, Access] = field(default_factory=dict)

    def add(self, access: Access) -> str:
        """A new one."""
        token = f"ya29.sandbox-{secrets.token_urlsafe(48)}"
        self._rows[token] = access
        return token

    def find(self, token: str) -> Access | None:
        """The one that is shown, while it lives."""
        found = self._rows.get(token)
        return found if found is not None and self.clock() < found.ends_at else None


@dataclass(slots=True)
class TokenService:
    """The exchange, over one cloud."""

    cloud: Cloud
    tokens: Tokens
    clock: Callable[[], float]
    tls: ssl.SSLContext | None = None
    traded: list[Access] = field(default_factory=list)
    _keys: dict[str, tuple[float, dict[str, jwt.PyJWK]]] = field(default_factory=dict)

    async def exchange(self, asked: Mapping[str, str]) -> dict[str, object]:
        """The body of a success, or `GoogleStsError`."""
        provider = self._provider(asked)
        claims = await self._verified(asked["subject_token"], provider)
        access = self._access(provider, claims, asked["scope"])
        self.traded.append(access)
        return {
            "access_token": self.tokens.add(access),
            "issued_token_type": f"{_TYPE}access_token",
            "token_type": "Bearer",
            "expires_in": int(LIFE),
        }

    def _provider(self, asked: Mapping[str, str]) -> Provider:
        wanted = {
            "grant_type": ("urn:ietf:params:oauth:grant-type:token-exchange",),
            "requested_token_type": (f"{_TYPE}access_token",),
            "subject_token_type": (f"{_TYPE}jwt", f"{_TYPE}id_token"),
        }
        for name in ("grant_type", "audience", "scope", "requested_token_type", "subject_token", "subject_token_type"):
            if not asked.get(name):
                raise GoogleStsError("invalid_request", f"Missing required parameter: {name}")
            if asked[name] not in wanted.get(name, (asked[name],)):
                code = "unsupported_grant_type" if name == "grant_type" else "invalid_request"
                raise GoogleStsError(code, f"Invalid value for {name}")
        audience = asked["audience"]
        if not audience.startswith(_OURS):
            text = 'Invalid value for "audience". This value should be the full resource name of the Identity Provider.'
            raise GoogleStsError("invalid_request", text)
        provider = self.cloud.providers.get(audience.removeprefix(_OURS))
        if provider is None or provider.disabled:
            text = (
                'The target service indicated by the "audience" parameters is invalid: disabled, deleted or not there.'
            )
            raise GoogleStsError("invalid_target", text)
        return provider

    async def _verified(self, token: str, provider: Provider) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise _no("The ID Token is malformed") from None
        if header.get("alg") not in ALGORITHMS or not header.get("kid"):
            raise _no("The ID Token must be signed with RS256 or ES256 and name its key in 'kid'")
        key = await self._key(provider, str(header["kid"]))
        options: Any = dict.fromkeys(("verify_aud", "verify_exp", "verify_iat", "verify_nbf"), False)
        try:
            claims: dict[str, Any] = jwt.decode(token, key, algorithms=[header["alg"]], options=options)
        except (jwt.PyJWTError, TypeError):
            raise _no("The signature of the ID Token does not verify") from None
        self._check(claims, provider)
        return claims

    def _check(self, claims: Mapping[str, Any], provider: Provider) -> None:
        if claims.get("iss") != provider.issuer:
            raise _no(f"The issuer in ID Token {claims.get('iss')} does not match the expected one")
        given = claims.get("aud")
        audiences = given if isinstance(given, list) else [given]
        if not any(isinstance(one, str) and provider.takes(one) for one in audiences):
            raise _no(f"The audience in ID Token [{given}] does not match the expected audience")
        now = self.clock()
        for name in ("iat", "exp"):
            if type(claims.get(name)) is not int:
                raise _no(f"The ID Token has no {name}")
        if now >= claims["exp"]:
            raise _no("The ID Token is expired")
        if claims["iat"] > now:
            raise _no("The ID Token was issued in the future")
        if now - claims["iat"] > OLDEST:
            raise _no(f"ID Token issued at {claims['iat']} is stale to sign-in")

    async def _key(self, provider: Provider, kid: str) -> jwt.PyJWK:
        if provider.jwks is not None:
            known = _read(provider.jwks.get("keys", []))
        else:
            fetched, known = self._keys.get(provider.issuer, (0.0, {}))
            if kid not in known or self.clock() - fetched > KEYS_LIFE:
                known = await self._fetched(provider.issuer)
                self._keys[provider.issuer] = (self.clock(), known)
        if kid not in known:
            raise _no("The signature of the ID Token cannot be verified: no key of that id")
        return known[kid]

    async def _fetched(self, issuer: str) -> dict[str, jwt.PyJWK]:
        try:
            return _read((await published(issuer, self.tls)).keys)
        except (TimeoutError, ValueError, jwt.PyJWTError, aiohttp.ClientError):
            raise _no("Error connecting to the given credential's issuer.") from None

    def _access(self, provider: Provider, claims: Mapping[str, Any], scope: str) -> Access:
        try:
            holds = not provider.condition or google_cel.condition(provider.condition)(claims)
            mapped = {name: google_cel.mapping(text)(claims) for name, text in provider.mapping.items()}
        except google_cel.CelError as error:
            raise _no(f"Failed to evaluate an attribute: {error}") from None
        if not holds:
            raise GoogleStsError("unauthorized_client", "The given credential is rejected by the attribute condition.")
        subject = mapped.pop("google.subject")
        if not subject or len(subject.encode()) > LONGEST_SUBJECT:
            raise GoogleStsError(
                "invalid_request", "The size of mapped attribute google.subject exceeds the 127 bytes limit."
            )
        place = f"iam.googleapis.com/{provider.pool}"
        sets = {f"principalSet://{place}/{name}/{value}" for name, value in mapped.items()}
        members = frozenset({f"principal://{place}/subject/{subject}", f"principalSet://{place}/*", *sets})
        return Access(members, frozenset(scope.split()), self.clock() + LIFE, subject)


def _read(rows: Any) -> dict[str, jwt.PyJWK]:  # noqa: ANN401  # JSON as it came
    return {str(row["kid"]): jwt.PyJWK(row) for row in rows if row.get("kid") and row.get("use", "sig") == "sig"}


def _no(text: str) -> GoogleStsError:
    return GoogleStsError("invalid_grant", text)
