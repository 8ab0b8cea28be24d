"""The trail: one JSON object per event, each bound to the one before it by SHA-256, appended and never changed.

Only an answer of ``/token`` to a verified subject is a ``decision``, and only a decision has a ``verdict``, so that
counting verdicts counts answers. The chain's head is told outside (stdout, a file beside the data base): against a
head kept elsewhere, a trail cut short is as visible as one edited.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from juniperd.errors import one_line
from juniperd.model import rfc3339

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Head:
    """The last record: its number and hash; 0 and :data:`GENESIS` before the first."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """What :meth:`__str__` wrote."""
        seq, _, digest = text.strip().partition(":")
        return cls(int(seq), digest)


@dataclass(frozen=True, slots=True)
class Flaw:
    """The first record that breaks the chain, and how."""

    seq: int
    text: str


def head(connection: sqlite3.Connection) -> Head:
    """The last record's number and hash."""
    row = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return Head(*row) if row else Head(0, GENESIS)


def append(connection: sqlite3.Connection, event: str, *, at: float, fields: Mapping[str, object]) -> Head:
    """One more record, within the caller's transaction."""
    last = head(connection)
    record = {"seq": last.seq + 1, "time": rfc3339(at), "event": event, **fields, "prev": last.hash}
    body = json.dumps(
        {k: _plain(v) for k, v in record.items()}, separators=(",", ":"), sort_keys=False, ensure_ascii=False
    )
    made = Head(last.seq + 1, _digest(body))
    connection.execute("INSERT INTO audit (seq, hash, body) VALUES (?, ?, ?)", (made.seq, made.hash, body))
    return made


def hearsay(text: str | None) -> str | None:
    """What somebody says of themselves: kept as told, made fit for a line."""
    return None if text is None else one_line(text, 200)


def _plain(value: object) -> object:
    """What others wrote, without control characters: an event is read in terminals, and by more programs than ours."""
    if isinstance(value, str):
        return value if value.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
    if isinstance(value, Mapping):
        return {str(_plain(k)): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode(errors="surrogatepass")).hexdigest()


def records(connection: sqlite3.Connection, *, after: int = 0, limit: int | None = None) -> Iterator[dict[str, object]]:
    """The records after a number, oldest first, each with its ``hash``."""
    query = "SELECT hash, body FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"
    for digest, body in connection.execute(query, (after, -1 if limit is None else limit)):
        yield {**json.loads(body), "hash": digest}


def of_person(connection: sqlite3.Connection, identity: str, subject: str, *, most: int) -> Iterator[dict[str, object]]:
    """The last records about one person's sign-in, newest first; by an index, so that a long trail costs no more."""
    query = """SELECT body FROM audit
               WHERE CASE WHEN json_valid(body) THEN json_extract(body, '$.identity') END = ?
                 AND CASE WHEN json_valid(body) THEN json_extract(body, '$.subject') END = ?
               ORDER BY seq DESC LIMIT ?"""
    for (body,) in connection.execute(query, (identity, subject, most)):
        yield json.loads(body)


def verify(connection: sqlite3.Connection, known: Head | None = None) -> tuple[Head, Flaw | None]:
    """Walk the whole chain; ``known`` is a head that was told outside and must be part of it."""
    last = Head(0, GENESIS)
    for seq, digest, body in connection.execute("SELECT seq, hash, body FROM audit ORDER BY seq"):
        if (flaw := _flaw(last, seq, digest, body)) is not None:
            return last, flaw
        last = Head(seq, digest)
        if known is not None and known.seq == seq and known.hash != digest:
            return last, Flaw(seq, "the record is not the one whose hash was told outside")
    if known is not None and known.seq > last.seq:
        return last, Flaw(last.seq + 1, f"the trail ends before record {known.seq}, which was told outside")
    return last, None


def lacks(connection: sqlite3.Connection, known: Head) -> Flaw | None:
    """Whether a head told outside is no record of the trail; a look at one record, where :func:`verify` walks all."""
    last = head(connection)
    row = connection.execute("SELECT hash FROM audit WHERE seq = ?", (known.seq,)).fetchone()
    if row is None and known != Head(0, GENESIS):
        return Flaw(last.seq + 1, f"the trail ends before record {known.seq}, which was told outside")
    if row is not None and row[0] != known.hash:
        return Flaw(known.seq, "the record is not the one whose hash was told outside")
    return None


def _flaw(last: Head, seq: int, digest: str, body: str) -> Flaw | None:
    if seq != last.seq + 1:
        return Flaw(last.seq + 1, "the record is missing")
    if _digest(body) != digest:
        return Flaw(seq, "the record was edited")
    try:
        record = json.loads(body)
    except ValueError:
        return Flaw(seq, "the record is not JSON")
    if record.get("seq") != seq or record.get("prev") != last.hash:
        return Flaw(seq, "the record does not follow the one before it")
    return None
