"""Links: which GitLab user an IdP identity is. One-to-one both ways; undone by an administrator alone.

GitLab's ``extern_uid`` makes a link and is asked again at every decision; what was linked once never silently
becomes somebody else.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from juniperd.issuer.facts import User
from juniperd.issuer.verdict import Refused

_ADMINISTRATOR = "ask an administrator to run: juniper issuer link remove"


@dataclass(frozen=True, slots=True)
class Link:
    """One identity and the GitLab user it is."""

    identity: str
    subject: str
    user_id: int
    login: str
    linked_at: float


def conflict(connection: sqlite3.Connection, *, identity: str, key: str, user_id: int) -> Refused | None:
    """Why this person cannot be this GitLab user, or None."""
    mine = connection.execute(
        "SELECT user_id FROM links WHERE identity = ? AND subject = ?", (identity, key)
    ).fetchone()
    if mine is not None and mine[0] != user_id:
        return Refused("1", "link_changed", f"this sign-in was linked to another GitLab user; {_ADMINISTRATOR}")
    theirs = connection.execute("SELECT identity, subject FROM links WHERE user_id = ?", (user_id,)).fetchone()
    if theirs is not None and tuple(theirs) != (identity, key):
        return Refused("1", "link_taken", f"the GitLab user is linked to another sign-in; {_ADMINISTRATOR}")
    return None


def make(connection: sqlite3.Connection, *, identity: str, key: str, user: User, now: float) -> bool:
    """Remember a link; whether it is new."""
    made = connection.execute(
        "INSERT OR IGNORE INTO links (identity, subject, user_id, login, linked_at) VALUES (?, ?, ?, ?, ?)",
        (identity, key, user.id, user.login, now),
    )
    return made.rowcount == 1


def remove(connection: sqlite3.Connection, user_id: int) -> int:
    """Undo the links of a GitLab user."""
    return connection.execute("DELETE FROM links WHERE user_id = ?", (user_id,)).rowcount


def all_links(connection: sqlite3.Connection) -> list[Link]:
    """Every link, in the order they were made."""
    query = "SELECT identity, subject, user_id, login, linked_at FROM links ORDER BY linked_at"
    return [Link(*row) for row in connection.execute(query)]
