"""DPoP at our endpoints (RFC 9449): every call carries a proof, and no proof counts twice."""

from __future__ import annotations

import hashlib
import sqlite3

from juniperd import jose
from juniperd.errors import TokenRejected
from juniperd.jose import Proof
from juniperd.model import Clock

_KEPT = 2 * jose.PROOF_WINDOW + 1
MAX_PROOFS = 100_000


class Proofs:
    """Verifies proofs and remembers those within the window; what a restart must not forget is in the data base."""

    def __init__(self, api_url: str, *, clock: Clock) -> None:
        self._api_url = api_url
        self._clock = clock
        self._seen: dict[str, float] = {}

    def check(self, proofs: list[str], *, method: str, path: str, access_token: str | None = None) -> Proof:
        """The one proof of a call; ``path`` is ours, so that what the request calls itself does not count."""
        if len(proofs) != 1:
            raise TokenRejected("dpop", "one DPoP proof is needed", "upgrade juniperd")
        url = self._api_url + path
        return jose.verify_dpop(proofs[0], method=method, url=url, now=self._clock(), access_token=access_token)

    def use(self, proof: Proof) -> None:
        """Use a proof up, once its caller is known: a stranger's would only fill the memory."""
        digest = digest_of(proof)
        if digest in self._seen:
            raise TokenRejected("replay", "the proof was used before", "send a new proof with each call")
        self._forget()
        self._seen[digest] = self._clock() + _KEPT

    def load(self, connection: sqlite3.Connection) -> None:
        """Take up what was seen before a restart."""
        query = "SELECT digest, ends_at FROM proofs WHERE ends_at > ? ORDER BY ends_at"
        self._seen |= dict(connection.execute(query, (self._clock(),)))

    def _forget(self) -> None:
        """Drop what can no longer be replayed; where too many are left the oldest make room for none."""
        now = self._clock()
        while self._seen and next(iter(self._seen.values())) <= now:
            self._seen.pop(next(iter(self._seen)))
        if len(self._seen) >= MAX_PROOFS:
            raise TokenRejected("busy", "too many proofs within two minutes", "try again in a minute")


def digest_of(proof: Proof) -> str:
    """A proof's name in memory: key and ``jti`` together, so that nobody can use up another's."""
    return hashlib.sha256(f"{proof.thumbprint}\0{proof.jti}".encode()).hexdigest()


def remember(connection: sqlite3.Connection, proof: Proof, *, now: float) -> None:
    """Keep a proof over a restart, within the caller's transaction."""
    connection.execute("DELETE FROM proofs WHERE ends_at <= ?", (now,))
    connection.execute("INSERT OR IGNORE INTO proofs (digest, ends_at) VALUES (?, ?)", (digest_of(proof), now + _KEPT))
