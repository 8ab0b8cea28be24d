"""An older data base is brought up to date with a whole backup, and a kill at any moment leaves the old one or the new."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from juniperd.errors import StateError
from juniperd.issuer import audit, state
from juniperd.issuer.state import VERSION, State

ROWS = 40


def old_folder(folder: Path, version: int) -> Path:
    """A folder as an issuer of that version left it when it was killed: its last commits are in the log alone."""
    made, left = folder / "made", folder / "state"
    for path in (made, left):
        path.mkdir(mode=0o700)
    with closing(sqlite3.connect(made / "state.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript("".join(state._STEPS[:version]) + f"PRAGMA user_version = {version};")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(ROWS):
            audit.append(connection, "decision", at=float(number), fields={"verdict": "permitted"})
        connection.execute(
            "INSERT INTO links (identity, subject, user_id, login, linked_at) VALUES ('company', 'u-1', 7, 'developer', 0)"
        )
        for name in ("state.db", "state.db-wal"):
            (left / name).write_bytes((made / name).read_bytes())
            (left / name).chmod(0o600)
    with closing(sqlite3.connect(f"file:{left}/state.db?immutable=1", uri=True)) as alone:
        assert alone.execute("SELECT count(*) FROM audit").fetchone() == (0,), "the rows are in the log"
    return left


def version_and_rows(path: Path) -> tuple[int, int, int]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        head, flaw = audit.verify(connection)
        assert (head.seq, flaw) == (ROWS, None)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("audit", "links")]
    return version, counts[0], counts[1]


@pytest.mark.parametrize("version", range(1, VERSION))
def test_the_backup_has_what_was_in_the_log_alone(tmp_path: Path, version: int) -> None:
    folder = old_folder(tmp_path, version)
    mask = os.umask(0)
    try:
        with closing(State(folder)) as opened:
            assert opened.read(lambda c: c.execute("SELECT basis FROM links").fetchall()) == [("extern_uid",)]
            assert opened.read(lambda c: c.execute("SELECT count(*) FROM sessions").fetchone()) == (0,)
            assert opened.read(lambda c: c.execute("SELECT count(*) FROM orders").fetchone()) == (0,)
    finally:
        os.umask(mask)
    backup = folder / f"state.db.version-{version}"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert version_and_rows(backup) == (version, ROWS, 1)
    assert version_and_rows(folder / "state.db") == (VERSION, ROWS, 1)
    assert [path.name for path in folder.glob("*.part*")] == []


def test_a_backup_can_be_put_back(tmp_path: Path) -> None:
    folder = old_folder(tmp_path, 1)
    with closing(State(folder)):
        pass
    (folder / "state.db.version-1").replace(folder / "state.db")
    with closing(State(folder)):
        pass
    assert version_and_rows(folder / "state.db") == (VERSION, ROWS, 1)


def in_child(work: Callable[[], None]) -> int:
    """The exit status of ``work`` in a process of its own; negative where a signal ended it."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except StateError:
            os._exit(73)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(folder: Path, moment: int) -> int:
    """Open the folder and be killed at the ``moment``-th call that leaves Python: a file, a data base, a rename."""

    def work() -> None:
        seen = 0

        def count(event: str, _arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event.startswith(("open", "os.", "sqlite3.", "fcntl.")):
                seen += 1
                if seen == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        with closing(State(folder)):
            pass

    return in_child(work)


def test_a_kill_at_any_moment_leaves_the_old_one_or_the_new_and_every_row(tmp_path: Path) -> None:
    found: set[tuple[int, bool]] = set()
    moment, status = 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        moment += 1
        (tmp_path / str(moment)).mkdir()
        folder = old_folder(tmp_path / str(moment), 1)
        status = killed_at(folder, moment)
        backup = folder / "state.db.version-1"
        if backup.exists():
            assert version_and_rows(backup) == (1, ROWS, 1)
        left, *_rows = version_and_rows(folder / "state.db")
        assert left in {1, VERSION}
        found.add((left, backup.exists()))
        with closing(State(folder)):
            pass
        assert version_and_rows(folder / "state.db") == (VERSION, ROWS, 1)
    assert status == 0
    assert moment > 8, "it was killed before, in and after the backup"
    assert {(1, False), (1, True), (VERSION, True)} <= found


def test_a_disk_that_is_full_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    folder = old_folder(tmp_path, 1)

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        # Enough for the log's index, too little for a copy.
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
        with pytest.raises(StateError, match=r"cannot be brought to version \d .*; check the disk of the state folder"):
            State(folder)

    assert in_child(work) == 0
    assert not (folder / "state.db.version-1").exists()
    assert version_and_rows(folder / "state.db") == (1, ROWS, 1)
    with closing(State(folder)):
        pass
    assert version_and_rows(folder / "state.db") == (VERSION, ROWS, 1)
