"""Pins: which key may use a sign-in. Written when a login shows its first ID token, asked at every call after.

A browser sign-in names its key in ``nonce`` and may add one whenever it does. A device sign-in names none, so the
first key is the only one, until a logout signed by that key or an administrator frees it.
"""

from __future__ import annotations

import hmac
import sqlite3

from juniperd.issuer.subject import Subject, cure, expected_nonce
from juniperd.issuer.verdict import Refused

_OF = """SELECT thumbprint FROM pins WHERE identity = ? AND client_id = ? AND subject = ? AND auth_time = ?
         AND (sid = ? OR sid = '' OR ? = '')"""


def _sign_in(subject: Subject) -> tuple[object, ...]:
    return (
        subject.identity.name,
        subject.client_id,
        subject.key,
        subject.auth_time,
        subject.sid,
        subject.sid,
    )


def _thumbprints(connection: sqlite3.Connection, subject: Subject) -> set[str]:
    return {row[0] for row in connection.execute(_OF, _sign_in(subject))}


def missing(connection: sqlite3.Connection, subject: Subject) -> Refused | None:
    """Why this key may not use this sign-in, or None."""
    if subject.thumbprint in _thumbprints(connection, subject):
        return None
    return Refused("0", "not_pinned", f"this sign-in belongs to another key; {cure(subject)}")


def pin(
    connection: sqlite3.Connection, subject: Subject, *, issuer_url: str, oldest: float, now: float
) -> Refused | None:
    """Tie the key to the sign-in, or say why not; a pin that exists is left as it is.

    ``oldest``: sign-ins made before it count for nothing any more, and their pins are dropped.
    """
    known = _thumbprints(connection, subject)
    if subject.thumbprint in known:
        return None
    if subject.by_device and known:
        return Refused("0", "pinned_elsewhere", f"this sign-in belongs to another key; {cure(subject)}")
    if not subject.by_device:
        wanted = expected_nonce(issuer_url, subject.thumbprint)
        if not hmac.compare_digest(subject.nonce.encode(), wanted.encode()):
            return Refused("0", "nonce", "the sign-in was made for another key or issuer; run: juniper login")
    connection.execute("DELETE FROM pins WHERE auth_time < ?", (oldest,))
    connection.execute(
        "INSERT INTO pins (identity, client_id, subject, auth_time, sid, thumbprint, pinned_at) VALUES (?,?,?,?,?,?,?)",
        (*_sign_in(subject)[:5], subject.thumbprint, now),
    )
    return None


def free(connection: sqlite3.Connection, subject: Subject) -> int:
    """Undo the pins of this key for this person: what a logout asks, signed by the key itself."""
    return connection.execute(
        "DELETE FROM pins WHERE identity = ? AND subject = ? AND thumbprint = ?",
        (subject.identity.name, subject.key, subject.thumbprint),
    ).rowcount


def free_all(connection: sqlite3.Connection, *, identity: str, key: str) -> int:
    """Undo every pin of a person: what an administrator asks."""
    return connection.execute("DELETE FROM pins WHERE identity = ? AND subject = ?", (identity, key)).rowcount
