"""Every order that was carried out, written down before GitLab hears of it: one SQLite file behind one lock.

No secret ever stands in it. One thread does all reading and writing in turn, and a write is on disk before its caller
goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TypeVar

from juniperd.errors import StateError, TokenRejected
from juniperd.model import Clock
from juniperd.order import Act, Order
from juniperd.premises import lock, private_folder

T = TypeVar("T")
NAME = "ledger.db"
VERSION = 2
MOST_LIVE = 200
"""Tokens of one project that may live at once."""
KEPT = 86_400.0
"""Seconds an order is remembered after its end: by then it has long expired, so that nobody can show it again."""
WATCHED = 3600.0
"""Seconds, by a clock that nobody sets, for which that day must have been over all the while."""

_SCHEMA = """
CREATE TABLE orders (
  id TEXT PRIMARY KEY, project_id INTEGER NOT NULL, name TEXT NOT NULL, username TEXT NOT NULL, scopes TEXT NOT NULL,
  ends_at REAL NOT NULL, due_at REAL NOT NULL, state TEXT NOT NULL,
  token_id INTEGER NOT NULL DEFAULT 0, ended_at REAL
) WITHOUT ROWID;
"""
_NAMES = """
ALTER TABLE orders ADD COLUMN token_name TEXT NOT NULL DEFAULT '';
UPDATE orders SET token_name = name WHERE token_id > 0;
"""
_COLUMNS = "id, project_id, name, ends_at, state, token_id, token_name"


class Stage(StrEnum):
    """How far an order came."""

    WRITTEN = "written"
    MINTED = "minted"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Entry:
    """One order as the ledger has it.

    ``name`` is the ordered token's; ``token_id`` is 0 until a token is known, and ``token_name`` is what GitLab called
    that one.
    """

    order: str
    project_id: int
    name: str
    ends_at: float
    stage: Stage
    token_id: int
    token_name: str = ""


class Ledger:
    """The open ledger."""

    def __init__(self, folder: Path, *, steady: Clock = time.monotonic) -> None:
        private_folder(folder, named_in="minter.toml")
        self._lock = lock(folder, holder="minter")
        try:
            self._connection = _opened(folder / NAME)
        except BaseException:
            os.close(self._lock)
            raise
        self._steady = steady
        self._over: dict[str, float] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="minter-ledger")

    def close(self) -> None:
        """Finish what waits, then let go of the lock."""
        self._thread.shutdown()
        self._connection.close()
        os.close(self._lock)

    async def open(self, order: Order) -> None:
        """Write a mint order down; refused where its id is known, or where its project has too many live tokens."""
        await self._do(lambda c: _open(c, order))

    async def minted(self, order_id: str, token_id: int) -> None:
        """GitLab made the token."""
        change = "UPDATE orders SET state = ?, token_id = ?, token_name = name WHERE id = ?"
        await self._do(lambda c: c.execute(change, (Stage.MINTED, token_id, order_id)))

    async def found(self, order_id: str, token_id: int, token_name: str) -> None:
        """GitLab shows a token of an order that it never answered, or not as it should have."""
        change = "UPDATE orders SET token_id = ?, token_name = ? WHERE id = ?"
        await self._do(lambda c: c.execute(change, (token_id, token_name, order_id)))

    async def ended(self, order_id: str, *, now: float) -> None:
        """There is no token of this order, or no more."""
        change = "UPDATE orders SET state = ?, ended_at = ? WHERE id = ?"
        await self._do(lambda c: c.execute(change, (Stage.ENDED, now, order_id)))

    async def find(self, order_id: str) -> Entry | None:
        """The order of this id, where it is known."""
        return await self._do(lambda c: _find(c, order_id))

    async def ask_to_end(self, order: Order, *, now: float) -> Entry:
        """The order that is to end now; one that nobody knows yet has ended before it could begin."""
        return await self._do(lambda c: _ask_to_end(c, order, now))

    async def due(self, now: float) -> list[Entry]:
        """Tokens whose time is over."""
        return await self._do(lambda c: _entries(c, "state = ? AND due_at <= ?", (Stage.MINTED, now)))

    async def next_due(self) -> float | None:
        """When the next token's time is over."""
        ask = "SELECT min(due_at) FROM orders WHERE state = ?"
        found = await self._do(lambda c: c.execute(ask, (Stage.MINTED,)).fetchone()[0])
        return None if found is None else float(found)

    async def unanswered(self) -> list[Entry]:
        """Orders that GitLab was told of, or was about to be, with no word of what became of them."""
        return await self._do(lambda c: _entries(c, "state = ?", (Stage.WRITTEN,)))

    async def forget(self, *, now: float) -> None:
        """Drop what ended a day ago, for an hour on end: by a clock that jumps ahead and back no order counts twice.

        Who starts the minter while its clock is wrong has that hour too, as none of it is written down.
        """
        ask = "SELECT id FROM orders WHERE state = ? AND ended_at < ?"
        found = await self._do(lambda c: c.execute(ask, (Stage.ENDED, now - KEPT)).fetchall())
        seen = self._steady()
        self._over = {i: self._over.get(i, seen) for (i,) in found}
        old = [(i,) for i, since in self._over.items() if seen - since >= WATCHED]
        await self._do(lambda c: c.executemany("DELETE FROM orders WHERE id = ?", old))

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, partial(_committed, self._connection, work))
        except sqlite3.Error as error:
            msg = f"the minter's ledger cannot be used ({error})"
            raise StateError(msg, "check the disk of the state folder") from error


def _opened(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, check_same_thread=False)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            connection.close()
            msg = f"{path} is of version {version}, newer than this program's {VERSION}"
            raise StateError(msg, "upgrade juniperd")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        if version < VERSION:
            steps = "".join((_SCHEMA, _NAMES)[version:])
            connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT;")
    except (sqlite3.Error, OSError) as error:
        msg = f"{path} cannot be opened ({error})"
        raise StateError(msg, "check the disk of the state folder") from None
    return connection


def _committed(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    with connection:
        return work(connection)


def _open(connection: sqlite3.Connection, order: Order) -> None:
    if _find(connection, order.id) is not None:
        raise replayed(order)
    # Of those that GitLab never answered most are none: after an hour of its failing nobody would get a token for the next.
    ask = "SELECT count(*) FROM orders WHERE project_id = ? AND state = ?"
    (live,) = connection.execute(ask, (order.project_id, Stage.MINTED)).fetchone()
    if live >= MOST_LIVE:
        msg = f"project {order.project_id} has {live} live tokens of this minter"
        raise StateError(msg, "end some sessions, or wait until some have ended")
    _insert(connection, order, (order.ends_at, order.ends_at, Stage.WRITTEN, None))


def _ask_to_end(connection: sqlite3.Connection, order: Order, now: float) -> Entry:
    found = _find(connection, order.id)
    if found is None:
        _insert(connection, order, (now, now, Stage.ENDED, now))
    elif found.project_id != order.project_id:
        raise TokenRejected("project_id", f"order {order.id} was for another project", "end it by its own project")
    else:
        connection.execute("UPDATE orders SET due_at = min(due_at, ?) WHERE id = ?", (now, order.id))
    return found or Entry(order.id, order.project_id, "", now, Stage.ENDED, 0)


def _insert(connection: sqlite3.Connection, order: Order, times: tuple[float, float, Stage, float | None]) -> None:
    told = (order.name, order.username) if order.act is Act.MINT else ("", "")
    row = (order.id, order.project_id, *told, json.dumps(order.scopes), *times)
    connection.execute(
        "INSERT INTO orders (id, project_id, name, username, scopes, ends_at, due_at, state, ended_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        row,
    )


def _find(connection: sqlite3.Connection, order_id: str) -> Entry | None:
    found = _entries(connection, "id = ?", (order_id,))
    return found[0] if found else None


def _entries(connection: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[Entry]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM orders WHERE {where} ORDER BY id", values)  # noqa: S608  # both texts are ours
    return [Entry(i, project, name, ends, Stage(stage), *token) for i, project, name, ends, stage, *token in rows]


def replayed(order: Order) -> TokenRejected:
    """An order is carried out once."""
    return TokenRejected("replay", f"order {order.id} was seen before", "order anew, under another id")
