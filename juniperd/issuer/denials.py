"""Denials: an administrator's no, at once and across restarts: for a GitLab user, a scope, or everybody."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from juniperd.issuer.verdict import Refused

KINDS = ("user", "scope", "all")


@dataclass(frozen=True, slots=True)
class Denial:
    """One denial; ``value`` is a user id, a scope's name, or empty for everybody."""

    kind: str
    value: str
    denied_at: float


def match(connection: sqlite3.Connection, *, user_id: int | None, scope: str) -> Refused | None:
    """The refusal where a denial covers this person or scope."""
    query = """SELECT kind FROM denials WHERE kind = 'all' OR (kind = 'scope' AND value = ?)
               OR (kind = 'user' AND value = ?) LIMIT 1"""
    row = connection.execute(query, (scope, str(user_id))).fetchone()
    if row is None:
        return None
    return Refused("deny", "denied", "an administrator has denied this for now; ask who runs the issuer")


def add(connection: sqlite3.Connection, denial: Denial) -> None:
    """Deny; a second time changes nothing."""
    connection.execute(
        "INSERT OR IGNORE INTO denials (kind, value, denied_at) VALUES (?, ?, ?)",
        (denial.kind, denial.value, denial.denied_at),
    )


def remove(connection: sqlite3.Connection, *, kind: str, value: str) -> int:
    """Undo a denial."""
    return connection.execute("DELETE FROM denials WHERE kind = ? AND value = ?", (kind, value)).rowcount


def everything(connection: sqlite3.Connection) -> list[Denial]:
    """Every denial in force."""
    rows = connection.execute("SELECT kind, value, denied_at FROM denials ORDER BY denied_at")
    return [Denial(*row) for row in rows]
