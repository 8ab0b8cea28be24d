"""Key sets by issuer: found by OIDC discovery, bounded, fetched anew at most once in thirty seconds.

An unknown ``kid`` is worth one fresh look, because keys rotate; it is not worth one per request, because anybody can
invent a ``kid``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from juniperd import jose
from juniperd.address import host_of
from juniperd.errors import TokenRejected, UpstreamAnswer, UpstreamError
from juniperd.http import Http
from juniperd.jose import KeySet, KeyUnknown, Profile, VerifiedClaims
from juniperd.model import Clock

LIFE = 3600.0
"""Seconds a key set is used before it is fetched again even if every kid is known."""
REFETCH_EVERY = 30.0
RETRY_AFTER = 5.0
MAX_DOCUMENT = 256 * 1024
MAX_ISSUERS = 16


@dataclass(frozen=True, slots=True)
class _Entry:
    metadata: Mapping[str, object]
    keys: KeySet
    fetched_at: float


class KeySets:
    """The keys and metadata of the few issuers a configuration names (OpenID Connect Discovery 1.0)."""

    def __init__(self, http: Http, *, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._looked_again: dict[str, float] = {}
        self._failures: dict[str, tuple[float, UpstreamError | TokenRejected]] = {}

    async def metadata(self, issuer: str) -> Mapping[str, object]:
        """The issuer's discovery document, its ``issuer`` member compared exactly."""
        return (await self._entry(issuer)).metadata

    async def verify(self, token: str, profile: Profile) -> VerifiedClaims:
        """The claims of a token that keeps its profile, with one fresh look at the keys for an unknown ``kid``."""
        entry = await self._entry(profile.issuer)
        try:
            return jose.verify(token, profile, entry.keys, now=self._clock())
        except KeyUnknown:
            entry = await self._entry(profile.issuer, newer_than=entry.fetched_at)
            return jose.verify(token, profile, entry.keys, now=self._clock())

    async def _entry(self, issuer: str, newer_than: float | None = None) -> _Entry:
        """The cached entry, or a fetched one: single flight per issuer, a refetch at most every 30 s."""
        if (known := self._usable(issuer, newer_than)) is not None:
            return known  # without the lock: a provider that hangs holds up nobody whose keys are known
        if issuer not in self._locks and len(self._locks) >= MAX_ISSUERS:
            msg = f"more than {MAX_ISSUERS} token issuers are in use"
            raise UpstreamAnswer(msg)
        async with self._locks.setdefault(issuer, asyncio.Lock()):
            if (known := self._usable(issuer, newer_than)) is not None:
                return known
            return await self._fetched(issuer, looks_again=newer_than is not None)

    def _usable(self, issuer: str, newer_than: float | None) -> _Entry | None:
        known = self._entries.get(issuer)
        return known if known is not None and not self._worth_fetching(issuer, known, newer_than) else None

    async def _fetched(self, issuer: str, *, looks_again: bool) -> _Entry:
        """A new entry; a failure answers for itself for a while, so that many callers do not wait for it in turn."""
        now = self._clock()
        failed_at, failure = self._failures.get(issuer, (-RETRY_AFTER, None))
        if failure is not None and 0 <= now - failed_at < RETRY_AFTER:
            raise failure
        if looks_again:
            self._looked_again[issuer] = now
        try:
            self._entries[issuer] = await self._fetch(issuer)
        except (UpstreamError, TokenRejected) as error:
            self._failures[issuer] = (self._clock(), error)
            raise
        return self._entries[issuer]

    def _worth_fetching(self, issuer: str, entry: _Entry, newer_than: float | None) -> bool:
        now = self._clock()
        if newer_than is None or entry.fetched_at > newer_than:
            return not 0 <= now - entry.fetched_at < LIFE
        return not 0 <= now - self._looked_again.get(issuer, -REFETCH_EVERY) < REFETCH_EVERY

    async def _fetch(self, issuer: str) -> _Entry:
        started = self._clock()
        metadata = await self._document(issuer.rstrip("/") + "/.well-known/openid-configuration")
        host = host_of(issuer)
        if metadata.get("issuer") != issuer:
            msg = f"the discovery document of {host} names another issuer"
            raise UpstreamAnswer(msg, "check the identity's issuer URL, to the last slash", host=host)
        address = metadata.get("jwks_uri")
        if not isinstance(address, str):
            msg = f"the discovery document of {host} names no keys"
            raise UpstreamAnswer(msg, host=host)
        return _Entry(metadata, KeySet.parse(await self._document(address)), started)

    async def _document(self, url: str) -> Mapping[str, object]:
        answer = await self._http.request("GET", url, max_bytes=MAX_DOCUMENT)
        document = answer.json() if answer.status == 200 else None
        if not isinstance(document, dict):
            host = host_of(url)
            msg = f"{host} answered status {answer.status} where its discovery documents should be"
            raise UpstreamAnswer(msg, host=host)
        return document
