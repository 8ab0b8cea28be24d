"""Back-up and return of the state: whole, private, and nothing that ended since comes back to life."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest

from juniperd.errors import ConfigError, StateError
from juniperd.issuer import audit, backup, commands, heads
from juniperd.issuer.state import State

from .doubles import Clock, Company, open_company, write_files
from .test_migration import ROWS, old_folder

SESSION = {"project": "shop/billing", "environment": "staging", "seconds": 3600, "scopes": [], "reason": None}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def signed_in_twice(folder: Path) -> tuple[Company, Path]:
    """A company with a developer signed in, and its back-up made while it runs."""
    async with open_company(folder) as shop:
        await shop.signed_in()
        copy = folder / "copy.db"
        head = backup.back_up(folder / "state", copy)
        assert head == shop.issuer.state.read(audit.head)
    return shop, copy


async def test_a_copy_of_a_running_issuer_is_whole_and_private(tmp_path: Path) -> None:
    _shop, copy = await signed_in_twice(tmp_path)
    assert mode(copy) == 0o600
    with closing(sqlite3.connect(f"{copy.as_uri()}?immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert audit.verify(connection)[1] is None
        assert connection.execute("SELECT count(*) FROM pins").fetchone() == (1,)


async def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    _shop, copy = await signed_in_twice(tmp_path)
    before = copy.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    for taken in (copy, link):
        with pytest.raises(ConfigError, match="is there; name a file that does not exist"):
            backup.back_up(tmp_path / "state", taken)
    assert copy.read_bytes() == before


async def test_who_had_signed_out_or_was_denied_since_does_not_come_back(tmp_path: Path) -> None:
    clock = Clock()
    async with open_company(tmp_path, clock=clock) as shop:
        laptop, token = await shop.signed_in()
        status, _ = await laptop.open_session(token, **SESSION)
        assert status == 201
        copy = tmp_path / "copy.db"
        backup.back_up(tmp_path / "state", copy)
        await shop.issuer.desk().act("deny", {"kind": "user", "value": "7"})
        await shop.issuer.desk().act("link_remove", {"user_id": 7})
        last = shop.issuer.state.read(audit.head)
        heads.write(tmp_path / "state", last)
    restored = await backup.restore(tmp_path / "state", copy, clock=clock)
    assert restored.since is not None
    assert (restored.since.head, restored.signed_out) == (last, 1)
    assert restored.kept is not None
    assert mode(restored.kept) == 0o600
    async with open_company(tmp_path, clock=clock) as shop:
        (record,) = shop.events("restored")
        assert (record["former_head"], record["denials"]) == (str(last), ["user 7"])
        assert [event["cause"] for event in shop.events("session_ended")] == ["restored"]
        counts = [
            shop.issuer.state._reader.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("pins", "freed", "links")
        ]
        assert counts == [0, 1, 0]
        assert audit.verify(shop.issuer.state._reader)[1] is None


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "edited", "newer", "absent"])
async def test_what_is_no_whole_copy_is_refused_before_anything_is_touched(tmp_path: Path, damage: str) -> None:
    _shop, copy = await signed_in_twice(tmp_path)
    if damage == "empty":
        copy.write_bytes(b"")
    elif damage == "text":
        copy.write_text("SELECT 1;\n" * 1000)
    elif damage == "cut":
        copy.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2])
    elif damage == "absent":
        copy.unlink()
    else:
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            connection.execute("DROP TRIGGER audit_stays")
            wanted = "UPDATE audit SET body = replace(body, 'sign', 'sing')" if damage == "edited" else ""
            connection.execute(wanted or "PRAGMA user_version = 99")
    before = {path.name: path.read_bytes() for path in (tmp_path / "state").iterdir() if path.is_file()}
    with pytest.raises(StateError):
        await backup.restore(tmp_path / "state", copy, clock=time.time)
    assert {path.name: path.read_bytes() for path in (tmp_path / "state").iterdir() if path.is_file()} == before


async def test_a_running_issuer_is_not_restored(tmp_path: Path) -> None:
    async with open_company(tmp_path) as shop:
        copy = tmp_path / "copy.db"
        backup.back_up(tmp_path / "state", copy)
        with pytest.raises(StateError, match="another issuer works on"):
            await backup.restore(tmp_path / "state", copy, clock=shop.clock)


async def test_a_state_that_nobody_can_read_is_kept_as_it_is(tmp_path: Path) -> None:
    _shop, copy = await signed_in_twice(tmp_path)
    broken = b"no data base at all" * 100
    (tmp_path / "state/state.db").write_bytes(broken)
    restored = await backup.restore(tmp_path / "state", copy, clock=time.time)
    assert restored.since is None
    assert restored.kept is not None
    assert restored.kept.read_bytes() == broken
    state = State(tmp_path / "state")
    state.close()


async def test_a_new_machine_has_nothing_to_put_aside(tmp_path: Path) -> None:
    _shop, copy = await signed_in_twice(tmp_path)
    fresh = tmp_path / "fresh"
    restored = await backup.restore(fresh, copy, clock=time.time)
    assert (restored.kept, restored.unlinked, mode(fresh)) == (None, 0, 0o700)


def test_the_verbs_say_what_is_next(tmp_path: Path) -> None:
    _shop, copy = asyncio.run(signed_in_twice(tmp_path))
    path = write_files(tmp_path, gitlab="http://127.0.0.1:1", idp="http://127.0.0.1:2")
    status, text = commands.back_up(path, tmp_path / "second.db")
    assert (status, text.splitlines()[1]) == (0, "not in it: the signing keys, the reader token, the policy")
    status, text = commands.restore(path, copy)
    assert status == 0, text
    assert text.splitlines()[-1] == "next: juniper issuer serve; everybody signs in anew"
    assert commands.restore(path, tmp_path / "absent").exit == 73


async def test_where_it_cannot_be_written_nothing_is_left(tmp_path: Path) -> None:
    await signed_in_twice(tmp_path)
    with pytest.raises(ConfigError, match="name a file in a folder of your own"):
        backup.back_up(tmp_path / "state", tmp_path / "no such folder" / "copy.db")
    assert not (tmp_path / "no such folder").exists()


async def test_a_state_from_before_there_were_orders_is_put_aside_too(tmp_path: Path) -> None:
    _shop, copy = await signed_in_twice(tmp_path)
    (tmp_path / "old").mkdir()
    folder = old_folder(tmp_path / "old", 3)
    restored = await backup.restore(folder, copy, clock=time.time)
    assert restored.since is not None
    assert restored.since.head.seq == ROWS
    assert restored.since.orders == ()
