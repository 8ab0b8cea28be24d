"""JWT bearer tokens, judged as an API server does that was given our `AuthenticationConfiguration`.

The leeways are the API server's own (measured): none for `exp`, a minute for `nbf`, and `iat` decides nothing by
itself. The rules about claims are those that the printed configuration says in CEL, where a claim that is missing
or of another type is an error, and an error a refusal.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

from juniperd.sandbox.cluster.authentication import Clock, User
from juniperd.sandbox.cluster.issuer_keys import IssuerKeys

ALGORITHMS: Final = frozenset(f"{family}{size}" for family in ("RS", "ES", "PS") for size in (256, 384, 512))
NBF_LEEWAY: Final = 60.0
LONGEST_LIFE: Final = 3600
PREFIX: Final = "juniper:"
CREDENTIAL_ID: Final = "authentication.kubernetes.io/credential-id"
_PART: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_STARS: Final = {"*": "[^/]*", "**": ".*"}

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrustedScope:
    """A scope of this cluster, with the `sub` that its tokens have by origin; `environment` may be a policy's pattern."""

    name: str
    subjects: Mapping[str, str]
    environment: str

    def matches(self, claims: Claims) -> bool:
        """Whether a token that says this scope is as the scope is."""
        parts = re.split(r"(\*\*|\*)", self.environment)
        pattern = "".join(_STARS.get(part, re.escape(part)) for part in parts)
        environment = claims["environment"]
        fits = isinstance(environment, str) and re.fullmatch(pattern, environment, re.DOTALL) is not None
        return fits and claims["sub"] in self.subjects.values()


@dataclass(frozen=True, slots=True)
class Trust:
    """What the cluster was told of one issuer; `tls` knows the authority of its certificate."""

    issuer: str
    audience: str
    scopes: tuple[TrustedScope, ...]
    groups: frozenset[str]
    tls: ssl.SSLContext

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of any of its scopes."""
        return tuple({origin for scope in self.scopes for origin in scope.subjects})


class _Refused(Exception):
    """A rule is broken; the text is for whoever debugs, since the client hears 401 and no more."""


@dataclass(slots=True)
class JwtAuthenticator:
    """The tokens of one issuer. `refusals` holds why each refused one was."""

    trust: Trust
    clock: Clock = time.time
    refusals: list[str] = field(default_factory=list)
    keys: IssuerKeys = field(init=False)

    def __post_init__(self) -> None:
        self.keys = IssuerKeys(self.trust.issuer, self.trust.tls, self.clock)

    async def authenticate(self, token: str) -> User | None:
        """The user that the configuration makes of a good token."""
        try:
            jws = _Jws(token)
            claims = self._checked(jws)
            await self._check_signature(jws)
            self._check_rules(claims)
            return _user(self.trust, claims)
        except _Refused as problem:
            self.refusals.append(str(problem))
        except KeyError as missing:
            self.refusals.append(f"the claim {missing} is missing")
        return None

    def _checked(self, jws: _Jws) -> Claims:
        """Issuer, audience and times, which are looked at before the signature."""
        claims, now = jws.claims, self.clock()
        if claims.get("iss") != self.trust.issuer:
            raise _Refused("another issuer")
        if self.trust.audience not in _audiences(claims.get("aud")):
            raise _Refused("another audience")
        if not isinstance(claims.get("sub", ""), str):
            raise _Refused("sub is no string")
        if _moment(claims, "exp") < now:
            raise _Refused("expired")
        if claims.get("nbf") is not None and now + NBF_LEEWAY < _moment(claims, "nbf"):
            raise _Refused("not valid yet")
        if "iat" in claims:
            _moment(claims, "iat")
        return claims

    async def _check_signature(self, jws: _Jws) -> None:
        # To Go a null is an empty text.
        algorithm, kid = jws.header.get("alg"), jws.header.get("kid") or ""
        if algorithm not in ALGORITHMS or not isinstance(kid, str):
            raise _Refused(f"signed with {algorithm}")
        if not _encoded_as_usual(jws.header):
            raise _Refused("an extension that is not known")
        if not await self.keys.found():
            raise _Refused("the issuer was not found yet")
        if not await self.keys.verify(jws.signed, jws.signature, algorithm=str(algorithm), kid=kid):
            raise _Refused("no key of the issuer verifies it")

    def _check_rules(self, claims: Claims) -> None:
        if claims["juniper_origin"] not in self.trust.origins:
            raise _Refused("not an origin of this cluster")
        if _number(claims, "exp") - _number(claims, "nbf") > LONGEST_LIFE:
            raise _Refused("an hour at most")
        scope = next((row for row in self.trust.scopes if row.name == claims["juniper_scope"]), None)
        if scope is None:
            raise _Refused("not a scope of this cluster")
        if not scope.matches(claims):
            raise _Refused(f"not as {scope.name} is")
        groups = claims["groups"]
        if not isinstance(groups, list) or not groups:
            raise _Refused("no groups")
        if not all(isinstance(group, str) and group in self.trust.groups for group in groups):
            raise _Refused("a group that is not of this cluster")


class _Jws:
    """A compact JWS taken apart (RFC 7515 section 7.1); `_Refused` where it is none."""

    def __init__(self, token: str) -> None:
        parts = token.split(".")
        if len(parts) != 3 or not all(map(_PART.fullmatch, parts)):
            raise _Refused("no JWT")
        self.signed = token.rpartition(".")[0].encode()
        self._header, self._payload, self.signature = map(_decoded, parts)

    @cached_property
    def header(self) -> Claims:
        return _object(self._header)

    @cached_property
    def claims(self) -> Claims:
        return _object(self._payload)


def _decoded(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise _Refused("no JWT") from None


def _encoded_as_usual(header: Claims) -> bool:
    """Whether no extension changes what is signed: of those that could, the library knows RFC 7797's alone."""
    critical = header.get("crit") or []
    return isinstance(critical, list) and set(map(str, critical)) <= {"b64"} and header.get("b64") is not False


def _object(raw: bytes) -> Claims:
    """As Go reads it, which mends bytes that are no UTF-8 and knows no NaN."""
    try:
        found = json.loads(raw.decode("utf-8", "replace"), parse_constant=_no_json)
    except (ValueError, RecursionError):
        raise _Refused("no JWT") from None
    if not isinstance(found, dict):
        raise _Refused("no JWT")
    return found


def _no_json(constant: str) -> None:
    raise ValueError(constant)


def _audiences(given: object) -> tuple[str, ...]:
    rows: list[object] = given if isinstance(given, list) else [given]
    texts = tuple(row for row in rows if isinstance(row, str))
    # To Go a null among texts is an empty one.
    return texts if len(texts) == len(rows) - rows.count(None) else ()


def _number(claims: Claims, name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Refused(f"{name} is no number")
    return value


def _moment(claims: Claims, name: str) -> int:
    """Whole seconds; a fraction is cut off, and numbers in quotes are read too."""
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _Refused(f"{name} is no number")
    try:
        return int(float(value))
    except (ValueError, OverflowError):
        raise _Refused(f"{name} is no number") from None


def _user(trust: Trust, claims: Claims) -> User:
    name, uid = claims["preferred_username"], claims["user_id"]
    if not isinstance(name, str) or not isinstance(uid, str):
        raise _Refused("a name or number that is no string")
    groups = tuple(group for group in claims["groups"] if group)
    if any(group.startswith("system:") for group in groups):
        raise _Refused("a group of the system's")
    return User(f"{PREFIX}{name}", uid, groups, _extra(trust, claims))


def _extra(trust: Trust, claims: Claims) -> dict[str, tuple[str, ...]]:
    host = (urlsplit(trust.issuer).hostname or "").lower()
    found = {
        CREDENTIAL_ID: (f"JTI={claims['jti']}",) if isinstance(claims.get("jti"), str) and claims["jti"] else (),
        f"{host}/scope": _strings(claims["juniper_scope"]),
        f"{host}/session": _strings(claims.get("juniper_session", "")),
    }
    return {key: values for key, values in found.items() if values}


def _strings(value: object) -> tuple[str, ...]:
    """An expression's value as a list of strings, without empty ones."""
    rows: list[object] = value if isinstance(value, list) else [] if value is None else [value]
    texts = tuple(row for row in rows if isinstance(row, str))
    if len(texts) != len(rows):
        raise _Refused("a value that is no string")
    return tuple(filter(None, texts))
