"""What an issuer publishes, as a relying party reads it: the discovery document, then the key set it names."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

FETCH_LIMIT: Final = 5.0
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})(?:$|[\s,])")


@dataclass(frozen=True, slots=True)
class Published:
    """A key set, and for how many seconds it may be kept: nothing where its answer does not say (RFC 9111, 5.2.2.1)."""

    keys: tuple[dict[str, Any], ...]
    max_age: float


async def published(issuer: str, tls: ssl.SSLContext | None, *, limit: float = FETCH_LIMIT) -> Published:
    """An issuer's keys; `TimeoutError`, `ValueError` and `aiohttp.ClientError` say why there are none."""
    async with asyncio.timeout(limit):
        document, _ = await _get_json(f"{issuer.rstrip('/')}/.well-known/openid-configuration", tls)
        if document.get("issuer") != issuer:
            raise ValueError(f"the discovery document is of {document.get('issuer')!r}")
        found, headers = await _get_json(str(document.get("jwks_uri")), tls)
    rows = found.get("keys")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("the key set has no list of keys")
    said = _MAX_AGE.search(headers.get("Cache-Control", "").lower())
    return Published(tuple(rows), float(said[1]) if said else 0.0)


async def _get_json(url: str, tls: ssl.SSLContext | None) -> tuple[dict[str, Any], Any]:
    ours = tls if tls is not None else True
    async with aiohttp.ClientSession() as session, session.get(url, ssl=ours, allow_redirects=False) as answer:
        if answer.status != 200:
            raise ValueError(f"{url} answered {answer.status}")
        found = await answer.json(content_type=None)
        if not isinstance(found, dict):
            raise ValueError(f"{url} answered no object")  # noqa: TRY004  # a wrong document is a wrong value here
        return found, answer.headers
