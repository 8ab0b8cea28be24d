"""Orders: what the minter was asked for, and what is to become of it.

An order is *ordered* before the minter is asked, *out* once its token may leave, *ending* from when it must end, and
*ended* once the minter says so. One that is past its end has ended whatever its row says, for the minter sees to that by
itself. Of a token nothing is kept but its SHA-256.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from juniperd.issuer import audit
from juniperd.issuer.subject import Subject
from juniperd.issuer.verdict import Refused
from juniperd.model import Secret

REMEMBERED = 24 * 3600.0
"""Seconds after its end in which an order is still known; the trail keeps it for good."""
MOST_OF_ONE = 50
"""Deploy tokens that one person holds in one project: the minter makes no more than 200 there, for everybody together."""

_COLUMNS = """id, decision, identity, subject, thumbprint, user_id, scope, session, project_id, ordered_at, ends_at,
              digest, state, cause"""
_LIVE = "state IN ('ordered', 'out')"


@dataclass(frozen=True, slots=True)
class Entry:
    """One order; it is the key's that asked, and ``cause`` says why it is to end."""

    id: str
    decision: str
    identity: str
    subject: str
    thumbprint: str
    user_id: int
    scope: str
    session: str | None
    project_id: int
    ordered_at: float
    ends_at: float
    digest: str | None = None
    state: str = "ordered"
    cause: str | None = None


def digest_of(secret: Secret) -> str:
    """What a token is known by here."""
    return hashlib.sha256(secret.reveal().encode()).hexdigest()


def add(connection: sqlite3.Connection, entry: Entry) -> None:
    """A new order, before the minter hears of it; those that ended long ago are forgotten here."""
    connection.execute("DELETE FROM orders WHERE ends_at < ?", (entry.ordered_at - REMEMBERED,))
    values = (
        entry.id,
        entry.decision,
        entry.identity,
        entry.subject,
        entry.thumbprint,
        entry.user_id,
        entry.scope,
        entry.session,
        entry.project_id,
        entry.ordered_at,
        entry.ends_at,
        entry.digest,
        entry.state,
        entry.cause,
    )
    connection.execute(f"INSERT INTO orders ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608  # names of ours alone


def full(connection: sqlite3.Connection, entry: Entry) -> Refused | None:
    """Why a person is given no more in a project, so that one laptop in a loop locks nobody else out of it."""
    held = (
        "user_id = ? AND project_id = ? AND ends_at > ? AND (state = 'ordered' OR digest NOTNULL AND state != 'ended')"
    )
    count = f"SELECT count(*) FROM orders WHERE {held}"  # noqa: S608  # words of ours alone
    (number,) = connection.execute(count, (entry.user_id, entry.project_id, entry.ordered_at)).fetchone()
    if number < MOST_OF_ONE:
        return None
    return Refused("mint", "order_many", f"you hold {number} deploy tokens of this project", passing=True)


def has_scope(connection: sqlite3.Connection, scope: str) -> bool:
    """Whether anything was ordered for a scope of that name."""
    return connection.execute("SELECT 1 FROM orders WHERE scope = ? LIMIT 1", (scope,)).fetchone() is not None


def _select(connection: sqlite3.Connection, where: str, values: Sequence[object]) -> list[Entry]:
    query = f"SELECT {_COLUMNS} FROM orders WHERE {where} ORDER BY ordered_at, id"  # noqa: S608  # words of ours alone
    return [Entry(*row) for row in connection.execute(query, values)]


def let_out(connection: sqlite3.Connection, number: str, *, digest: str, ends_at: float) -> bool:
    """The token may leave, unless its order was ended meanwhile."""
    query = "UPDATE orders SET state = 'out', digest = ?, ends_at = ? WHERE id = ? AND state = 'ordered'"
    return connection.execute(query, (digest, ends_at, number)).rowcount == 1


def held(connection: sqlite3.Connection, secret: Secret, thumbprint: str) -> Entry | None:
    """The order of a token, where the key is the one that the token was made for."""
    found = _select(connection, "digest = ? AND thumbprint = ?", (digest_of(secret), thumbprint))
    return found[0] if found else None


# --- what ends them ---------------------------------------------------------------------------------------------------


def _end(connection: sqlite3.Connection, where: str, values: Sequence[object], cause: str) -> int:
    query = f"UPDATE orders SET state = 'ending', cause = ? WHERE {_LIVE} AND {where}"  # noqa: S608  # words of ours alone
    return connection.execute(query, (cause, *values)).rowcount


def end(connection: sqlite3.Connection, number: str, cause: str) -> bool:
    """End one; whether it had not been ended before."""
    return _end(connection, "id = ?", (number,), cause) == 1


def end_of_session(connection: sqlite3.Connection, session: str) -> None:
    """End what was ordered in a session that is over."""
    _end(connection, "session = ?", (session,), "session")


def end_of_key(connection: sqlite3.Connection, subject: Subject) -> None:
    """End what a key was given: its sign-in is over."""
    where = "identity = ? AND subject = ? AND thumbprint = ?"
    _end(connection, where, (*subject.name, subject.thumbprint), "signed_out")


def end_of_user(connection: sqlite3.Connection, user_id: int, cause: str) -> None:
    """End all of a GitLab user's: an administrator said so."""
    _end(connection, "user_id = ?", (user_id,), cause)


def end_of_scope(connection: sqlite3.Connection, scope: str, cause: str) -> None:
    """End all of a scope."""
    _end(connection, "scope = ?", (scope,), cause)


def end_all(connection: sqlite3.Connection, cause: str) -> None:
    """End everything."""
    _end(connection, "TRUE", (), cause)


def unended(connection: sqlite3.Connection, now: float) -> list[Entry]:
    """Whatever may still be at GitLab; none of a data base that is older than orders."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'orders'").fetchone() is None:
        return []
    return _select(connection, "state != 'ended' AND ends_at > ?", (now,))


def end_restored(connection: sqlite3.Connection, former: Sequence[Entry]) -> None:
    """End everything that was out when the state was put back, and what only the state before knew of."""
    end_all(connection, "restored")
    for entry in former:
        connection.execute("DELETE FROM orders WHERE id = ?", (entry.id,))
        add(connection, replace(entry, state="ending", cause=entry.cause or "restored"))


def end_lost(connection: sqlite3.Connection) -> None:
    """End what a former process ordered and gave to nobody: whether the minter heard of it nobody knows."""
    connection.execute("UPDATE orders SET state = 'ending', cause = 'lost' WHERE state = 'ordered'")


def ending(connection: sqlite3.Connection, now: float) -> list[Entry]:
    """What the minter must still be told to end."""
    return _select(connection, "state = 'ending' AND ends_at > ?", (now,))


def ended(connection: sqlite3.Connection, entry: Entry, now: float) -> None:
    """The minter has ended it; on record."""
    connection.execute("UPDATE orders SET state = 'ended' WHERE id = ?", (entry.id,))
    audit.append(connection, "order_ended", at=now, fields={**said(entry), "cause": entry.cause})


def said(entry: Entry) -> dict[str, object]:
    """What each record of an order says."""
    return {
        "order": entry.id,
        "decision": entry.decision,
        "identity": entry.identity,
        "subject": entry.subject,
        "user_id": entry.user_id,
        "scope": entry.scope,
        "session": entry.session,
        "project_id": entry.project_id,
    }
