"""Pins: which key may use a sign-in. Written when a login shows its first ID token, asked at every call after.

A browser sign-in names its key in ``nonce`` and may add one whenever it does. A device sign-in names none, so the
first key is the only one, until a logout signed by that key or an administrator frees it. A sign-in that was freed
takes a new key only from an ID token issued after the freeing: what a thief may have had until then counts no more.
"""

from __future__ import annotations

import hmac
import sqlite3

from juniperd.issuer.subject import Subject, cure, expected_nonce
from juniperd.issuer.verdict import Refused

_OF = """SELECT thumbprint FROM pins WHERE identity = ? AND client_id = ? AND subject = ? AND auth_time = ?
         AND (sid = ? OR sid = '' OR ? = '')"""
_FREED = """SELECT max(after) FROM freed WHERE identity = ? AND client_id = ? AND subject = ? AND auth_time = ?
            AND (sid = ? OR sid = '' OR ? = '')"""
_BURY_MINE = """INSERT INTO freed SELECT identity, client_id, subject, auth_time, sid,
                  CASE WHEN client_id = ? AND auth_time = ? AND (sid = ? OR sid = '' OR ? = '') THEN ? ELSE ? END
                FROM pins WHERE identity = ? AND subject = ? AND thumbprint = ?
                ON CONFLICT DO UPDATE SET after = max(after, excluded.after)"""
_BURY_ALL = """INSERT INTO freed SELECT DISTINCT identity, client_id, subject, auth_time, sid, ?
               FROM pins WHERE identity = ? AND subject = ?
               ON CONFLICT DO UPDATE SET after = max(after, excluded.after)"""


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


def _freed_since(connection: sqlite3.Connection, subject: Subject) -> bool:
    """Whether a key of this sign-in was freed when this token was out already."""
    (after,) = connection.execute(_FREED, _sign_in(subject)).fetchone()
    return after is not None and subject.issued_at <= after


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
    if _freed_since(connection, subject):
        text = "this sign-in's key was freed after the token was issued; run: juniper login"
        return Refused("0", "freed", text)
    if subject.by_device and known:
        return Refused("0", "pinned_elsewhere", f"this sign-in belongs to another key; {cure(subject)}")
    if not subject.by_device:
        wanted = expected_nonce(issuer_url, subject.thumbprint)
        if not hmac.compare_digest(subject.nonce.encode(), wanted.encode()):
            return Refused("0", "nonce", "the sign-in was made for another key or issuer; run: juniper login")
    connection.execute("DELETE FROM pins WHERE auth_time < ?", (oldest,))
    connection.execute("DELETE FROM freed WHERE auth_time < ?", (oldest,))
    connection.execute(
        "INSERT INTO pins (identity, client_id, subject, auth_time, sid, thumbprint, pinned_at) VALUES (?,?,?,?,?,?,?)",
        (*_sign_in(subject)[:5], subject.thumbprint, now),
    )
    return None


def free(connection: sqlite3.Connection, subject: Subject, *, now: float) -> int:
    """Undo the pins of this key for this person: what a logout asks, signed by the key itself.

    For its own sign-in every token up to the one shown is dead; the times are both the identity provider's, so that
    no skew of our clock refuses the login that comes next.
    """
    own = (subject.client_id, subject.auth_time, subject.sid, subject.sid, subject.issued_at, now)
    mine = (subject.identity.name, subject.key, subject.thumbprint)
    connection.execute(_BURY_MINE, (*own, *mine))
    return connection.execute("DELETE FROM pins WHERE identity = ? AND subject = ? AND thumbprint = ?", mine).rowcount


def free_all(connection: sqlite3.Connection, *, identity: str, key: str, now: float) -> int:
    """Undo every pin of a person: what an administrator asks; what was issued until now pins no other key."""
    connection.execute(_BURY_ALL, (now, identity, key))
    return connection.execute("DELETE FROM pins WHERE identity = ? AND subject = ?", (identity, key)).rowcount
