"""Links: which GitLab user an IdP identity is. One-to-one both ways; undone by an administrator alone.

A link stands on one of two grounds. GitLab's ``extern_uid`` makes it and is asked again at every decision; what was
linked once never silently becomes somebody else. The person makes it on the issuer's page, and from then on the table
alone says who they are: for an identity that is linked there no link on another ground counts.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from juniperd.issuer.facts import User
from juniperd.issuer.inquiry import OnPage
from juniperd.issuer.subject import Subject
from juniperd.issuer.verdict import Refused

EXTERN_UID, PAGE = "extern_uid", "page"
_ADMINISTRATOR = "ask an administrator to run: juniper issuer link remove --user {user_id}"


@dataclass(frozen=True, slots=True)
class Link:
    """One identity and the GitLab user it is."""

    identity: str
    subject: str
    user_id: int
    login: str
    linked_at: float
    basis: str


def conflict(connection: sqlite3.Connection, *, identity: str, key: str, user_id: int) -> Refused | None:
    """Why this person cannot be this GitLab user, or None."""
    mine = connection.execute(
        "SELECT user_id FROM links WHERE identity = ? AND subject = ?", (identity, key)
    ).fetchone()
    if mine is not None and mine[0] != user_id:
        return Refused("1", "link_changed", f"this sign-in was linked to another GitLab user; {_ask(mine[0])}")
    theirs = connection.execute("SELECT identity, subject FROM links WHERE user_id = ?", (user_id,)).fetchone()
    if theirs is not None and tuple(theirs) != (identity, key):
        return Refused("1", "link_taken", f"the GitLab user is linked to another sign-in; {_ask(user_id)}")
    return None


def _ask(user_id: int) -> str:
    return _ADMINISTRATOR.format(user_id=user_id)


def on_page(connection: sqlite3.Connection, who: OnPage) -> int | None:
    """The GitLab user that a person was linked to on the page."""
    query = "SELECT user_id FROM links WHERE identity = ? AND subject = ? AND basis = ?"
    row = connection.execute(query, (who.identity, who.key, PAGE)).fetchone()
    return None if row is None else int(row[0])


def missing(connection: sqlite3.Connection, subject: Subject) -> Refused | None:
    """Why this sign-in is nobody's, or None; only of an identity that is linked on the page can the table say so."""
    who = subject.who
    if not isinstance(who, OnPage) or on_page(connection, who) is not None:
        return None
    text = f"this sign-in is linked to no GitLab user; open {who.page} in your browser"
    return Refused("1", "link_missing", text)


def make_on_page(connection: sqlite3.Connection, who: OnPage, *, user: User, now: float) -> bool | Refused:
    """Remember what a person confirmed on the page; whether it is new, or why not.

    A link of the same two on the other ground becomes one of the page's: the person has shown both accounts.
    """
    taken = conflict(connection, identity=who.identity, key=who.key, user_id=user.id)
    if taken is not None:
        return taken
    if on_page(connection, who) is not None:
        return False
    connection.execute(
        "INSERT OR REPLACE INTO links (identity, subject, user_id, login, linked_at, basis) VALUES (?, ?, ?, ?, ?, ?)",
        (who.identity, who.key, user.id, user.login, now, PAGE),
    )
    return True


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
    query = "SELECT identity, subject, user_id, login, linked_at, basis FROM links ORDER BY linked_at"
    return [Link(*row) for row in connection.execute(query)]
