"""Calls to a provider's endpoints: on a connection of their own, and with a proof where one is asked for (RFC 9449).

A proof says that this very call is made now by the holder of a key; what the token endpoint answers is then bound to
that key. A provider may want its own nonce in it (section 8), and refuses a proof made by a clock that is wrong; either
is told by an answer that spends nothing, and the call is made once more.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from juniperd import jose
from juniperd.errors import UpstreamAnswer
from juniperd.http import Answer, Http
from juniperd.jose import SigningKey
from juniperd.model import Clock
from juniperd.skew import ClockSkew

BAD_PROOF = "invalid_dpop_proof"
NONCE_WANTED = "use_dpop_nonce"
LONGEST_NONCE = 512
CLOCK_SLIP = 5.0
"""Seconds by which this machine's clock must turn out wrong for a refused proof to be worth another."""


class TokenCalls:
    """Makes them, and remembers each endpoint's latest nonce."""

    def __init__(self, http: Http, *, clock: Clock, skew: ClockSkew) -> None:
        self._http = http
        self._clock = clock
        self._skew = skew
        self._nonces: dict[str, str] = {}

    async def post(self, url: str, form: Mapping[str, str], *, key: SigningKey | None = None) -> Answer:
        """The answer, whatever its status; with ``key`` each call carries a proof by it."""
        slip, nonce = self._skew.seconds, self._nonces.get(url)
        answer = await self._post(url, form, key)
        if key is None or answer.status == 200:
            return answer
        error = code_of(answer)
        told_nonce = error == NONCE_WANTED and self._nonces.get(url) not in {None, nonce}
        told_time = error == BAD_PROOF and abs(self._skew.seconds - slip) > CLOCK_SLIP
        return await self._post(url, form, key) if told_nonce or told_time else answer

    async def _post(self, url: str, form: Mapping[str, str], key: SigningKey | None) -> Answer:
        asked_at = self._clock()
        headers = {} if key is None else {"DPoP": self._proof(url, key)}
        answer = await self._http.request("POST", url, headers=headers, form=form, alone=True)
        self._skew.observe(answer.date, asked_at=asked_at)
        nonce = answer.headers.get("DPoP-Nonce", "")
        if nonce.isascii() and nonce.isprintable() and 0 < len(nonce) <= LONGEST_NONCE:
            self._nonces[url] = nonce
        return answer

    def _proof(self, url: str, key: SigningKey) -> str:
        return jose.dpop_proof(
            key,
            method="POST",
            url=url.partition("?")[0].partition("#")[0],
            now=self._clock() - self._skew.seconds,
            jti=secrets.token_urlsafe(16),
            nonce=self._nonces.get(url),
        )


def json_of(answer: Answer) -> object:
    """The body, or ``None`` where it is not JSON."""
    try:
        return answer.json()
    except UpstreamAnswer:
        return None


def code_of(answer: Answer) -> str | None:
    """An answer's error code (RFC 6749 section 5.2)."""
    body = json_of(answer)
    code = body.get("error") if isinstance(body, dict) else None
    return code if isinstance(code, str) else None
