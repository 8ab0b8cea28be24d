"""DPoP at our endpoints (RFC 9449): every call carries a proof, and no proof counts twice."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from dataclasses import dataclass

from juniperd import jose
from juniperd.errors import TokenRejected
from juniperd.jose import Proof
from juniperd.model import Clock

_KEPT = 2 * jose.PROOF_WINDOW + 1
MAX_PROOFS = 100_000


@dataclass(frozen=True, slots=True)
class Used:
    """A proof just used up, for :func:`remember`, and those that need not be kept any more."""

    digest: str
    ends_at: float
    gone: tuple[str, ...]


class Proofs:
    """Verifies proofs and remembers those within the window; every one is in the data base too, for a restart.

    ``ticks`` is a clock that nobody sets: one that is stepped and stepped back must not bring a used proof to life.
    """

    def __init__(self, api_url: str, *, clock: Clock, ticks: Clock = time.monotonic) -> None:
        self._api_url = api_url
        self._clock = clock
        self._ticks = ticks
        self._seen: dict[str, float] = {}

    def check(self, proofs: list[str], *, method: str, path: str, access_token: str | None = None) -> Proof:
        """The one proof of a call; ``path`` is ours, so that what the request calls itself does not count."""
        if len(proofs) != 1:
            raise TokenRejected("dpop", "one DPoP proof is needed", "upgrade juniperd")
        url = self._api_url + path
        return jose.verify_dpop(proofs[0], method=method, url=url, now=self._clock(), access_token=access_token)

    def use(self, proof: Proof) -> Used:
        """Use a proof up, once its caller is known: a stranger's would only fill the memory."""
        digest = digest_of(proof)
        if digest in self._seen:
            raise TokenRejected("replay", "the proof was used before", "send a new proof with each call")
        gone = self._forget()
        self._seen[digest] = self._ticks() + _KEPT
        return Used(digest, self._clock() + _KEPT, gone)

    def load(self, connection: sqlite3.Connection) -> None:
        """Take up what was seen before a restart, as if it had been seen just now."""
        ends = self._ticks() + _KEPT
        self._seen |= {row[0]: ends for row in connection.execute("SELECT digest FROM proofs ORDER BY ends_at")}

    def _forget(self) -> tuple[str, ...]:
        """Drop what can no longer be replayed; where too many are left the oldest make room for none."""
        now = self._ticks()
        gone = []
        while self._seen and next(iter(self._seen.values())) <= now:
            gone.append(next(iter(self._seen)))
            del self._seen[gone[-1]]
        if len(self._seen) >= MAX_PROOFS:
            raise TokenRejected("busy", "too many proofs within two minutes", "try again in a minute")
        return tuple(gone)


def digest_of(proof: Proof) -> str:
    """A proof's name in memory: key and ``jti`` together, so that nobody can use up another's."""
    return hashlib.sha256(f"{proof.thumbprint}\0{proof.jti}".encode()).hexdigest()


def remember(connection: sqlite3.Connection, used: Used) -> None:
    """Keep a proof over a restart, within the caller's transaction."""
    connection.executemany("DELETE FROM proofs WHERE digest = ?", [(digest,) for digest in used.gone])
    connection.execute("INSERT OR IGNORE INTO proofs (digest, ends_at) VALUES (?, ?)", (used.digest, used.ends_at))
