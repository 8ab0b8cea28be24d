"""Back-up of the issuer's state and its return: a copy is older than the truth, so what it might give back is ended.

A back-up holds links, sign-ins' keys, denials, sessions, orders and the whole trail; it holds no secret, but it names
people. The signing keys and the reader token are no part of it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from juniperd.errors import ConfigError, StateError
from juniperd.issuer import audit, denials, heads, orders, pins, sessions, state
from juniperd.issuer.audit import Head
from juniperd.issuer.denials import Denial
from juniperd.issuer.orders import Entry
from juniperd.issuer.state import State
from juniperd.model import Clock
from juniperd.premises import lock, private_folder

_OPEN = "SELECT DISTINCT user_id FROM sessions WHERE ended_at IS NULL"
_PINNED = "SELECT DISTINCT identity, subject FROM pins"
_LINKS = "SELECT identity, subject, user_id FROM links"
_UNLINK = "DELETE FROM links WHERE identity = ? AND subject = ? AND user_id = ?"
_FILES = ("state.db", "state.db-wal", "state.db-shm")
_MADE_IN = "restoring"

Link = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Since:
    """What the state that is put aside knew: its head, and what administrators had said no to."""

    head: Head
    denials: tuple[Denial, ...]
    links: frozenset[Link]
    orders: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """What a return did; ``kept`` is where the former state lies, ``since`` is None where nobody can read it."""

    head: Head
    kept: Path | None
    since: Since | None
    signed_out: int
    unlinked: int


def back_up(folder: Path, target: Path) -> Head:
    """A whole copy, also of a running issuer's state, in a new file of mode 0600; the head of its trail."""
    if os.path.lexists(target):
        msg = f"{target} is there"
        raise ConfigError(msg, "name a file that does not exist")
    with closing(state.connect(folder, readonly=True)) as connection:
        try:
            state.copy(connection, target)
        except (OSError, sqlite3.Error) as error:
            msg = f"{target} cannot be written ({error})"
            raise ConfigError(msg, "name a file in a folder of your own, on a disk with room") from None
    with _reading(target) as copied:
        return audit.head(copied)


async def restore(folder: Path, source: Path, *, clock: Clock) -> Restored:
    """Put a back-up in the state's place, with every sign-in and session in it ended; no issuer may run meanwhile.

    Denials that were in force stay so, and links that were undone since stay undone, where the former state can be read.
    """
    _check(source)
    private_folder(folder, named_in="issuer.toml")
    held = lock(folder, holder="issuer")
    try:
        since, kept = _put_aside(folder, now=clock())
        head, signed_out, unlinked = await _made(folder / _MADE_IN, source, since, clock)
        _put_in_place(folder, folder / _MADE_IN / "state.db", readable=since is not None, kept=kept)
        heads.write(folder, head)
        shutil.rmtree(folder / _MADE_IN)
    finally:
        os.close(held)
    return Restored(head, kept, since, signed_out, unlinked)


async def _made(place: Path, source: Path, since: Since | None, clock: Clock) -> tuple[Head, int, int]:
    """The new state in a folder of its own, with all ended in it: who is killed before has put nothing into force."""
    shutil.rmtree(place, ignore_errors=True)
    private_folder(place, named_in="issuer.toml")
    with _reading(source) as connection:
        state.copy(connection, place / "state.db")
    made = State(place)
    try:
        signed_out, unlinked = await made.write(lambda c: _ended(c, since, now=clock()))
        return made.read(audit.head), signed_out, unlinked
    finally:
        made.close()  # the last connection, so nothing of it is in a write-ahead log any more


def _check(source: Path) -> None:
    """Refuse what is no whole state of ours, before anything is touched."""
    with _reading(source) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if not 1 <= version <= state.VERSION:
            msg = f"{source} is of version {version}, and this program knows 1 to {state.VERSION}"
            raise StateError(msg, "use the juniperd that made it, or a newer one")
        (whole,) = connection.execute("PRAGMA integrity_check").fetchone()
        _head, flaw = audit.verify(connection)
        if whole != "ok":
            msg = f"{source} is damaged"
            raise StateError(msg, "restore an older one")
        if flaw is not None:
            raise heads.broken(flaw, f"{source} is not to be trusted; restore another one")


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A data base that nothing is written to, not even beside it; what is none is refused."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            yield connection
    except sqlite3.Error as error:
        msg = f"{path} is no back-up ({error})"
        raise StateError(msg, "name a file that juniper issuer backup made") from None


def _put_aside(folder: Path, *, now: float) -> tuple[Since | None, Path | None]:
    """Keep the state that is there under another name; what it knew, where it can be read."""
    if not (folder / "state.db").exists():
        return Since(Head(0, audit.GENESIS), (), frozenset()), None
    kept = folder / f"state.db.before-restore-{int(now)}"
    try:
        with closing(state.connect(folder)) as connection:
            state.copy(connection, kept)
            since = Since(
                audit.head(connection),
                tuple(denials.everything(connection)),
                frozenset(connection.execute(_LINKS)),
                tuple(orders.unended(connection, now)),
            )
    except (StateError, sqlite3.Error):
        since = None
    return since, kept


def _put_in_place(folder: Path, made: Path, *, readable: bool, kept: Path | None) -> None:
    """Rename the new state over the former; one that nobody can read is first moved aside as it is."""
    (folder / heads.NAME).unlink(missing_ok=True)
    for name in _FILES:
        path = folder / name
        if not readable and kept is not None and path.exists():
            # Somebody may still make something of it.
            path.rename(folder / name.replace("state.db", kept.name))
        elif name != "state.db":
            path.unlink(missing_ok=True)
    made.replace(folder / "state.db")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _ended(connection: sqlite3.Connection, since: Since | None, *, now: float) -> tuple[int, int]:
    """End what may have ended since the copy was made, and write down that there was a return."""
    for (user,) in connection.execute(_OPEN).fetchall():
        sessions.end_of_user(connection, user, "restored", now)
    pinned = connection.execute(_PINNED).fetchall()
    signed_out = sum(pins.free_all(connection, identity=i, key=s, now=now) for i, s in pinned)
    orders.end_restored(connection, since.orders if since is not None else ())
    links = set(connection.execute(_LINKS))
    undone = sorted(links - since.links) if since is not None and since.head.seq else []
    connection.executemany(_UNLINK, undone)
    for denial in since.denials if since is not None else ():
        denials.add(connection, denial)
    fields = {
        "former_head": str(since.head) if since is not None else None,
        "signed_out": signed_out,
        "unlinked": [user for _identity, _subject, user in undone],
        "denials": [f"{d.kind} {d.value}".rstrip() for d in denials.everything(connection)],
    }
    audit.append(connection, "restored", at=now, fields=fields)
    return signed_out, len(undone)
