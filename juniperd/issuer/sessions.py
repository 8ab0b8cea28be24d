"""Debugging sessions: what a person opened for one environment of one project, until when, and for which scopes.

A session wakes scopes that sleep; it permits nothing by itself, for each mint within it is judged anew. It belongs to
the key that opened it, and ends by its own time, by its owner, with the key's sign-in, or by an administrator.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from juniperd.issuer import audit, orders
from juniperd.issuer.policy import Scope
from juniperd.issuer.subject import Subject
from juniperd.issuer.verdict import Refused
from juniperd.model import rfc3339

LONGEST = 12 * 3600.0
"""Seconds a session lasts at most, extensions included."""
MOST_OPEN = 16
"""Sessions of one person at once."""
SHORTEST_LEFT = 120.0
"""Seconds that a session must go on for a token that ends with it."""
REMEMBERED = 24 * 3600.0
"""Seconds after its end in which a session is still told from one that never was; the trail keeps it for good."""

_COLUMNS = """id, identity, subject, thumbprint, user_id, project_id, project, environment, ref, scopes, opened_at,
              ends_at, ended_at, cause"""


@dataclass(frozen=True, slots=True)
class Session:
    """One session; ``scopes`` are those it wakes, ``ended_at`` and ``cause`` say that it is over."""

    id: str
    identity: str
    subject: str
    thumbprint: str
    user_id: int
    project_id: int
    project: str
    environment: str
    ref: str | None
    scopes: tuple[str, ...]
    opened_at: float
    ends_at: float
    ended_at: float | None = None
    cause: str | None = None

    def open_at(self, now: float) -> bool:
        """Whether it still wakes anything; by the clock, whether or not it was swept yet."""
        return self.ended_at is None and now < self.ends_at

    @property
    def again(self) -> str:
        """The command that opens another one like it."""
        return f"run: juniper session open {self.project} --env {shlex.quote(self.environment)}"


def add(connection: sqlite3.Connection, session: Session, *, now: float) -> None:
    """A new session; those that ended long ago are forgotten here."""
    connection.execute("DELETE FROM sessions WHERE ended_at < ?", (now - REMEMBERED,))
    values = (
        session.id,
        session.identity,
        session.subject,
        session.thumbprint,
        session.user_id,
        session.project_id,
        session.project,
        session.environment,
        session.ref,
        " ".join(session.scopes),
        session.opened_at,
        session.ends_at,
        session.ended_at,
        session.cause,
    )
    connection.execute(f"INSERT INTO sessions ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608  # names of ours alone


def _select(connection: sqlite3.Connection, where: str, values: Sequence[object]) -> list[Session]:
    query = f"SELECT {_COLUMNS} FROM sessions WHERE {where} ORDER BY opened_at, id"  # noqa: S608  # words of ours alone
    return [_session(row) for row in connection.execute(query, values)]


def _session(row: tuple[object, ...]) -> Session:
    values = list(row)
    values[9] = tuple(str(row[9]).split())
    return Session(*values)  # type: ignore[arg-type]  # the columns have the types of the schema


def find(connection: sqlite3.Connection, session: str | None, subject: Subject) -> Session | Refused:
    """The session of that id, where it is this person's; nobody learns of anybody else's."""
    found = _select(connection, "id = ? AND identity = ? AND subject = ?", (session, *subject.name))
    return (
        found[0]
        if found
        else Refused("session", "session_unknown", "there is no such session; run: juniper session list")
    )


def open_of(connection: sqlite3.Connection, subject: Subject, now: float) -> list[Session]:
    """The person's open sessions, whichever laptop opened them."""
    mine = _select(connection, "identity = ? AND subject = ?", subject.name)
    return [session for session in mine if session.open_at(now)]


def usable(connection: sqlite3.Connection, session: str | None, subject: Subject, now: float) -> Session | Refused:
    """The session, where it is open and this key's."""
    found = find(connection, session, subject)
    if isinstance(found, Refused):
        return found
    if found.thumbprint != subject.thumbprint:
        return Refused("session", "session_elsewhere", f"the session is another sign-in's; {found.again}")
    if not found.open_at(now):
        return Refused("session", "session_ended", f"the session has ended; {found.again}")
    return found


def ending(session: Session, now: float) -> Refused | None:
    """Why there is no token any more that would end with the session: one so short would be refused where it is shown."""
    left = session.ends_at - now
    if left >= SHORTEST_LEFT:
        return None
    return Refused("session", "session_ending", f"the session ends in {left:.0f} s; run: juniper session extend 30m")


def covers(session: Session, name: str, scope: Scope | None) -> Refused | None:
    """Why this session does not wake a scope, or None: policy may have moved the name to another project since."""
    if name in session.scopes and scope is not None and scope.project_id == session.project_id:
        return None
    names = ", ".join(session.scopes)
    return Refused("session", "session_scope", f"the session is for {names}; {session.again} --scope {name}")


def extend(connection: sqlite3.Connection, session: Session, ends_at: float) -> None:
    """Move the end."""
    connection.execute("UPDATE sessions SET ends_at = ? WHERE id = ?", (ends_at, session.id))


def end(connection: sqlite3.Connection, session: Session, cause: str, now: float) -> None:
    """End one that has not ended, and what was ordered in it; one that ran out ended when it did, noticed or not."""
    ended_at, cause = min(now, session.ends_at), cause if now < session.ends_at else "time"
    connection.execute("UPDATE sessions SET ended_at = ?, cause = ? WHERE id = ?", (ended_at, cause, session.id))
    orders.end_of_session(connection, session.id)
    fields = {
        "session": session.id,
        "cause": cause,
        "identity": session.identity,
        "subject": session.subject,
        "user_id": session.user_id,
        "project_id": session.project_id,
        "environment": session.environment,
        "opened_at": rfc3339(session.opened_at),
        "ended_at": rfc3339(ended_at),
    }
    audit.append(connection, "session_ended", at=now, fields=fields)


def end_of_key(connection: sqlite3.Connection, subject: Subject, now: float) -> None:
    """End what a key opened: its sign-in is over."""
    where = "ended_at IS NULL AND identity = ? AND subject = ? AND thumbprint = ?"
    _end_all(connection, _select(connection, where, (*subject.name, subject.thumbprint)), "signed_out", now)


def end_of_user(connection: sqlite3.Connection, user_id: int, cause: str, now: float) -> None:
    """End all of a GitLab user's: an administrator said so."""
    _end_all(connection, _select(connection, "ended_at IS NULL AND user_id = ?", (user_id,)), cause, now)


def end_due(connection: sqlite3.Connection, now: float) -> None:
    """End those whose time is over."""
    _end_all(connection, _select(connection, "ended_at IS NULL AND ends_at <= ?", (now,)), "time", now)


def _end_all(connection: sqlite3.Connection, sessions: Sequence[Session], cause: str, now: float) -> None:
    for session in sessions:
        end(connection, session, cause, now)


def next_end(connection: sqlite3.Connection) -> float | None:
    """When :func:`end_due` has something to do."""
    (moment,) = connection.execute("SELECT min(ends_at) FROM sessions WHERE ended_at IS NULL").fetchone()
    return None if moment is None else float(moment)
