"""A restore that is killed anywhere gives nothing back that had ended."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from juniperd.issuer import backup, denials, orders
from juniperd.issuer.orders import Entry
from tests.issuer.doubles import Clock, open_company

ORDER = Entry("first", "d", "okta", "u-developer", "key", 7, "image-reader", None, 42, 0.0, 0.0, "digest", "out")
KILLED = """
import asyncio, os, sys, time
from pathlib import Path
from juniperd.issuer import backup

def dies(*_words, **_more):
    os._exit(9)

setattr({place}, dies)
asyncio.run(backup.restore(Path(sys.argv[1]), Path(sys.argv[2]), clock=time.time))
"""


@pytest.mark.parametrize(
    "place", ['backup, "_put_in_place"', 'backup, "_ended"', 'backup.audit, "append"', 'backup.heads, "write"']
)
async def test_one_that_is_killed_leaves_nobody_signed_in_who_was_not(tmp_path: Path, place: str) -> None:
    clock, folder, copy = Clock(), tmp_path / "state", tmp_path / "copy.db"
    async with open_company(tmp_path, clock=clock) as shop:
        await shop.signed_in()
        backup.back_up(folder, copy)
        desk = shop.issuer.desk()
        await desk.act("deny", {"kind": "user", "value": "7"})
        await desk.act("pins_free", {"user_id": 7})
        assert shop.issuer.state.read(pinned) == 0
    words = [sys.executable, "-c", KILLED.format(place=place), str(folder), str(copy)]
    assert (await asyncio.to_thread(subprocess.run, words, timeout=60, check=False)).returncode == 9
    # Whoever starts the issuer now, or begins the restore anew, has the denial and no key of that sign-in.
    (folder / "head").unlink(missing_ok=True)
    async with open_company(tmp_path, clock=clock) as shop:
        assert shop.issuer.state.read(pinned) == 0
        assert [d.value for d in shop.issuer.state.read(denials.everything)] == ["7"]
    restored = await backup.restore(folder, copy, clock=lambda: clock() + 5)
    assert restored.since is not None
    assert [d.value for d in restored.since.denials] == ["7"]
    assert not list(folder.glob("*.part"))
    assert not (folder / "restoring").exists()


def pinned(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM pins").fetchone()
    return int(count)


async def test_a_deploy_token_that_was_to_end_still_does(tmp_path: Path) -> None:
    """Ordered after the copy and denied, or out in it: the minter hears of either."""
    clock, folder, copy = Clock(), tmp_path / "state", tmp_path / "copy.db"
    async with open_company(tmp_path, clock=clock) as shop:
        await shop.signed_in()
        state = shop.issuer.state
        await state.write(lambda c: orders.add(c, replace(ORDER, ordered_at=clock(), ends_at=clock() + 3600)))
        backup.back_up(folder, copy)
        later = replace(ORDER, id="later", ordered_at=clock(), ends_at=clock() + 3600)
        await state.write(lambda c: orders.add(c, later))
        await shop.issuer.desk().act("deny", {"kind": "user", "value": "7"})
    await backup.restore(folder, copy, clock=clock)
    async with open_company(tmp_path, clock=clock) as shop:
        waiting = shop.issuer.state.read(lambda c: orders.ending(c, clock()))
        assert {(entry.id, entry.cause) for entry in waiting} == {("first", "denied"), ("later", "denied")}
