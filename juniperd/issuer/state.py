"""What the issuer must remember: one SQLite file behind one lock, one writer thread, commits that reach the disk.

Records that wait share a commit, so that many decisions cost one ``fsync``. A write that did not reach the disk
raises, and whoever asked for it gives nothing out.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from juniperd.errors import StateError
from juniperd.premises import lock, private_folder

T = TypeVar("T")
VERSION = 6
Work = Callable[[sqlite3.Connection], Any]

_SCHEMA = """
CREATE TABLE audit (seq INTEGER PRIMARY KEY, hash TEXT NOT NULL, body TEXT NOT NULL);
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;
CREATE TRIGGER audit_keeps BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;
CREATE TABLE links (
  identity TEXT NOT NULL, subject TEXT NOT NULL, user_id INTEGER NOT NULL, login TEXT NOT NULL, linked_at REAL NOT NULL,
  PRIMARY KEY (identity, subject), UNIQUE (user_id)
);
CREATE TABLE pins (
  identity TEXT NOT NULL, client_id TEXT NOT NULL, subject TEXT NOT NULL, auth_time REAL NOT NULL, sid TEXT NOT NULL,
  thumbprint TEXT NOT NULL, user_id INTEGER, pinned_at REAL NOT NULL,
  PRIMARY KEY (identity, client_id, subject, auth_time, sid, thumbprint)
);
CREATE TABLE denials (kind TEXT NOT NULL, value TEXT NOT NULL, denied_at REAL NOT NULL, PRIMARY KEY (kind, value));
CREATE TABLE proofs (digest TEXT PRIMARY KEY, ends_at REAL NOT NULL) WITHOUT ROWID;
"""
_FREED = """
CREATE TABLE freed (
  identity TEXT NOT NULL, client_id TEXT NOT NULL, subject TEXT NOT NULL, auth_time REAL NOT NULL, sid TEXT NOT NULL,
  after REAL NOT NULL,
  PRIMARY KEY (identity, client_id, subject, auth_time, sid)
);
"""
_SESSIONS = """
CREATE TABLE sessions (
  id TEXT PRIMARY KEY, identity TEXT NOT NULL, subject TEXT NOT NULL, thumbprint TEXT NOT NULL, user_id INTEGER NOT NULL,
  project_id INTEGER NOT NULL, project TEXT NOT NULL, environment TEXT NOT NULL, ref TEXT, scopes TEXT NOT NULL,
  opened_at REAL NOT NULL, ends_at REAL NOT NULL, ended_at REAL, cause TEXT
) WITHOUT ROWID;
CREATE INDEX sessions_of ON sessions (identity, subject, thumbprint);
ALTER TABLE links ADD COLUMN basis TEXT NOT NULL DEFAULT 'extern_uid';
"""
_ORDERS = """
CREATE TABLE orders (
  id TEXT PRIMARY KEY, decision TEXT NOT NULL, identity TEXT NOT NULL, subject TEXT NOT NULL, thumbprint TEXT NOT NULL,
  user_id INTEGER NOT NULL, scope TEXT NOT NULL, session TEXT, project_id INTEGER NOT NULL, ordered_at REAL NOT NULL,
  ends_at REAL NOT NULL, digest TEXT, state TEXT NOT NULL, cause TEXT
) WITHOUT ROWID;
CREATE INDEX orders_in_state ON orders (state);
CREATE INDEX orders_by_digest ON orders (digest);
"""
_OF_PERSON = """
CREATE INDEX audit_of ON audit (
  CASE WHEN json_valid(body) THEN json_extract(body, '$.identity') END,
  CASE WHEN json_valid(body) THEN json_extract(body, '$.subject') END
);
"""
_JOB_TOKENS = """
CREATE TABLE job_tokens (
  jti TEXT PRIMARY KEY, project_id INTEGER NOT NULL, job_id INTEGER NOT NULL, thumbprint TEXT NOT NULL, ends_at REAL NOT NULL
) WITHOUT ROWID;
"""
_STEPS = (_SCHEMA, _FREED, _SESSIONS, _ORDERS, _OF_PERSON, _JOB_TOKENS)
"""What brings a data base from each version to the next; the first makes it."""


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


def connect(folder: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """A connection to the folder's data base; a newer version than ours is refused."""
    path = folder / "state.db"
    mode = "ro" if readonly else "rwc"
    try:
        connection = sqlite3.connect(
            f"file:{path}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False, timeout=5.0
        )
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        msg = f"{path} cannot be opened ({error})"
        raise StateError(msg, "run: juniper issuer serve") from None
    if version > VERSION:
        connection.close()
        msg = f"{path} is of version {version}, newer than this program's {VERSION}"
        raise StateError(msg, "upgrade juniperd")
    return connection


def _prepare(folder: Path) -> sqlite3.Connection:
    """The writer's connection, its schema made or brought up to date with a backup beside it."""
    fresh = not (folder / "state.db").exists()
    if fresh:
        os.close(os.open(folder / "state.db", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = connect(folder)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version < VERSION and not fresh and (folder / "state.db").stat().st_size:
            copy(connection, folder / f"state.db.version-{version}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        if version < VERSION:
            steps = "".join(_STEPS[version:])
            connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT;")
    except (sqlite3.Error, OSError) as error:
        connection.close()
        msg = f"{folder / 'state.db'} cannot be brought to version {VERSION} ({error})"
        raise StateError(msg, "check the disk of the state folder") from None
    return connection


def copy(connection: sqlite3.Connection, path: Path) -> None:
    """A whole copy at ``path``, with what only the write-ahead log holds yet; under its name once it is on disk."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with closing(sqlite3.connect(part, isolation_level=None)) as copy:
            connection.backup(copy)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class State:
    """The open data base: reads on the loop, writes in one thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = private_folder(folder, named_in="issuer.toml")
        self._lock = lock(folder, holder="issuer")
        try:
            self._writer = _prepare(folder)
            self._reader = connect(folder, readonly=True)
        except BaseException:
            os.close(self._lock)
            raise
        self.problem: StateError | None = None
        """What the last write failed of; None once one has reached the disk."""
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="issuer-writer", daemon=True)
        self._thread.start()

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The answer of a small query."""
        try:
            return work(self._reader)
        except sqlite3.Error as error:
            msg = f"the issuer's data base cannot be read ({error})"
            raise StateError(msg, "check the disk of the state folder") from error

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The answer of ``work`` once its changes are on disk."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(work, future, loop))
        try:
            done = await future
        except sqlite3.Error as error:
            msg = f"the issuer's data base cannot be written ({error})"
            self.problem = StateError(msg, "check the disk of the state folder")
            raise self.problem from error
        self.problem = None
        return done

    def close(self) -> None:
        """Finish what waits, then let go of the lock."""
        self._jobs.put(None)
        self._thread.join()
        self._reader.close()
        self._writer.close()
        os.close(self._lock)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            jobs = [self._jobs.get()]
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            stopping = None in jobs
            self._commit([j for j in jobs if j is not None])

    def _commit(self, jobs: list[_Job]) -> None:
        """One transaction for all; a job that fails is undone alone, a commit that fails fails them all."""
        if not jobs:
            return
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            results = [self._one(job) for job in jobs]
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            results = [error] * len(jobs)
        for job, result in zip(jobs, results, strict=True):
            job.loop.call_soon_threadsafe(_resolve, job.future, result)

    def _one(self, job: _Job) -> object:
        self._writer.execute("SAVEPOINT job")
        try:
            result = job.work(self._writer)
        except Exception as error:  # noqa: BLE001  # the thread outlives any one job; the error goes to its caller
            self._writer.execute("ROLLBACK TO job")
            result = error
        self._writer.execute("RELEASE job")
        return result


def _resolve(future: asyncio.Future[Any], result: object) -> None:
    if future.cancelled():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
