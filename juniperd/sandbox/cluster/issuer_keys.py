"""An issuer's published keys as the API server keeps them (go-oidc v2): by discovery, then by `kid`, refetched late.

A key is looked up in what was fetched before, whatever its age. Only where that verifies nothing, and the set's own
lifetime has less than half a minute left, is the set fetched anew.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
import jwt

from juniperd.sandbox.cluster.authentication import Clock

RETRY: Final = 10.0
"""Seconds between two attempts to find an issuer that did not answer."""
EARLY: Final = 30.0
"""Seconds before a set's end from which on it is fetched anew for an unknown key."""
FETCH_LIMIT: Final = 30.0
_DAY: Final = 86_400.0
_KEY_TYPES: Final = frozenset({"RSA", "EC", "OKP", "oct"})
_SECONDS: Final = re.compile(r'(?:^|[,\s])%s="?(\d+)"?(?:$|[,\s])')

Jwk = dict[str, Any]


@dataclass(slots=True)
class IssuerKeys:
    """The keys of one issuer, behind the authority of `tls`."""

    issuer: str
    tls: ssl.SSLContext
    clock: Clock = time.time
    limit: float = FETCH_LIMIT
    _jwks_uri: str = ""
    _retry_at: float = 0.0
    _keys: list[Jwk] = field(default_factory=list)
    _fresh_until: float = 0.0
    _fetching: asyncio.Task[None] | None = None

    async def found(self) -> bool:
        """Whether the issuer's discovery document was read, now or before; one attempt in ten seconds at most."""
        if not self._jwks_uri and self.clock() >= self._retry_at:
            self._retry_at = self.clock() + RETRY
            try:
                document, _ = await self._get(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
            except (OSError, ValueError, aiohttp.ClientError):
                return False
            if document.get("issuer") == self.issuer and isinstance(document.get("jwks_uri"), str):
                self._jwks_uri = document["jwks_uri"]
        return bool(self._jwks_uri)

    async def verify(self, signed: bytes, signature: bytes, *, algorithm: str, kid: str) -> bool:
        """Whether a key of the issuer signed this; a token without `kid` may be any key's."""
        if self._verified(signed, signature, algorithm, kid):
            return True
        if self.clock() + EARLY <= self._fresh_until:
            return False
        try:
            await self._refetch()
        except (OSError, ValueError, aiohttp.ClientError):
            return False
        return self._verified(signed, signature, algorithm, kid)

    def _verified(self, signed: bytes, signature: bytes, algorithm: str, kid: str) -> bool:
        return any(
            _verifies(key, signed, signature, algorithm) for key in self._keys if not kid or key.get("kid") == kid
        )

    async def _refetch(self) -> None:
        """One fetch, however many tokens wait for it."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        document, headers = await self._get(self._jwks_uri)
        keys = document.get("keys")
        if not isinstance(keys, list) or not all(
            isinstance(row, dict) and row.get("kty") in _KEY_TYPES for row in keys
        ):
            # A key of a type that the library does not know spoils the set.
            raise ValueError(self._jwks_uri)
        self._keys, self._fresh_until = keys, fresh_until(headers, self.clock())

    async def _get(self, url: str) -> tuple[dict[str, Any], Mapping[str, str]]:
        async with (
            asyncio.timeout(self.limit),
            aiohttp.ClientSession() as session,
            session.get(url, ssl=self.tls) as answer,
        ):
            document = await answer.json(content_type=None)
            if answer.status != 200 or not isinstance(document, dict):
                raise ValueError(url)
            return document, answer.headers


def fresh_until(headers: Mapping[str, str], now: float) -> float:
    """The end of an answer's life: `s-maxage`, `max-age`, `Expires`, a tenth of its age, or now (RFC 9111)."""
    control = headers.get("Cache-Control", "")
    for name in ("s-maxage", "max-age"):
        stated = re.search(_SECONDS.pattern % name, control, re.IGNORECASE)
        if stated is not None:
            return now + int(stated[1])
    expires, modified = _date(headers, "Expires"), _date(headers, "Last-Modified")
    if expires is not None:
        return max(now, now + expires - (_date(headers, "Date") or now))
    if modified is not None:
        return max(now, now + min((now - modified) / 10, _DAY))
    return now


def _date(headers: Mapping[str, str], name: str) -> float | None:
    try:
        return parsedate_to_datetime(headers[name]).timestamp()
    except (KeyError, ValueError):
        return None


def _verifies(key: Jwk, signed: bytes, signature: bytes, algorithm: str) -> bool:
    try:
        found = jwt.PyJWK(key, algorithm=algorithm)
        return found.Algorithm.verify(signed, found.key, signature)
    except (jwt.PyJWTError, ValueError, TypeError):
        # A key of another type than the algorithm's, or none at all.
        return False
