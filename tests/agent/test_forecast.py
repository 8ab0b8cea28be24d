"""When a sign-in will end, and why: forecast in ``status``, with a warning in its last hour."""

from __future__ import annotations

import asyncio
import os
import pty
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from juniperd.cli import status
from juniperd.standing import Forewarned

from .doubles import START, Doubles
from .harness import Running, serving
from .vault import FakeVault


@pytest.fixture
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def shown(running: Running) -> dict[str, Any]:
    answer: Any = (await running.control("status")).events[-1]
    found: dict[str, Any] = answer["sign_in"]
    return found


@pytest.mark.usefixtures("_berlin")
async def test_the_last_hour_is_announced_on_the_persons_clock(running: Running) -> None:
    await running.login()
    assert status._sign_in(await shown(running)) == (
        "team: developer (user 7) until Fri 15 Jan 21:00 CET (sign_in_max_age)"
    )
    running.world.clock.now += 43200 - 3601
    assert (await shown(running))["warning"] is None
    running.world.clock.now += 1081
    now = await shown(running)
    assert (now["ends_at"], now["seconds_left"]) == ("2027-01-15T20:00:00Z", 2520)
    assert status._sign_in(now).endswith(
        "21:00 CET (sign_in_max_age); the sign-in ends in 42 min, then run: juniper login"
    )


async def test_after_its_end_it_has_ended_though_nobody_asked(running: Running) -> None:
    await running.login()
    running.world.clock.now += 43200
    now = await shown(running)
    assert (now["state"], now["reason"], now["warning"]) == ("ended", "the sign-in has reached its end", None)


@pytest.mark.parametrize(
    ("beside", "ends_by", "left"),
    [
        ({"refresh_token_expires_in": 1800}, "identity provider", 1800),
        ({"refresh_expires_in": 1800}, "identity provider", 1800),
        ({"refresh_expires_in": 0}, "sign_in_max_age", 43200),
        ({"refresh_token_expires_in": 90 * 86400}, "sign_in_max_age", 43200),
        ({"refresh_token_expires_in": "1800"}, "sign_in_max_age", 43200),
        ({"refresh_token_expires_in": True}, "sign_in_max_age", 43200),
        ({"refresh_token_expires_in": 1e300}, "sign_in_max_age", 43200),
    ],
)
async def test_the_earlier_end_is_the_end(running: Running, beside: dict[str, object], ends_by: str, left: int) -> None:
    running.world.idp.beside = beside
    await running.login()
    now = await shown(running)
    assert (now["ends_by"], now["seconds_left"]) == (ends_by, left)
    assert (now["warning"] is not None) == (left < 3600)


async def test_a_renewal_moves_the_providers_end(running: Running) -> None:
    running.world.idp.beside = {"refresh_expires_in": 1800}
    await running.login()
    running.world.clock.now += 300
    await running.aws()
    assert (await shown(running))["seconds_left"] == 1800


async def test_it_outlives_a_restart_with_who_it_is(world: Doubles, folder: Path) -> None:
    vault = FakeVault()
    async with serving(world, folder, vault=vault) as before:
        await before.login()
    async with serving(world, folder, vault=vault) as after:
        now = await shown(after)
        assert (now["user"], now["seconds_left"]) == ({"id": "7", "login": "developer"}, 43200)
        assert world.idp.spent == set()


async def test_a_clock_that_was_hours_ahead_at_the_start_ends_nothing(world: Doubles, folder: Path) -> None:
    vault = FakeVault()
    async with serving(world, folder, vault=vault) as before:
        await before.login()
    for double in (world.idp, world.issuer, world.sts):
        double.date_offset = -50_000.0
    world.clock.now = START + 50_000
    async with serving(world, folder, vault=vault) as after:
        await after.agent.desks["team"].sign_in.subject()
        assert (await shown(after))["state"] == "signed-in"


def test_each_end_is_warned_of_twice() -> None:
    forewarned = Forewarned()
    seconds = (None, 43200, 3600, 3599, 3000, 600, 599, 1, 0)
    assert [forewarned.due("team", left) for left in seconds] == [False] * 3 + [True, False, False, True, False, False]
    # Another sign-in, seen late; one issuer's warning is not another's.
    assert [forewarned.due("team", left) for left in (43200, 60, 50)] == [False, True, False]
    assert forewarned.due("other", 60)


async def typed(running: Running, *words: str, terminal: bool = True) -> str:
    """What a verb says on standard error, which is a person's terminal or a pipe."""
    reading, theirs = pty.openpty() if terminal else os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            f"{sysconfig.get_path('scripts')}/juniper",
            *words,
            env={**os.environ, "JUNIPER_SOCKET": str(running.path)},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=theirs,
        )
        await process.wait()
        os.write(theirs, b".")
        said = b""
        while not said.endswith(b"."):
            said += os.read(reading, 4096)
    finally:
        os.close(theirs)
        os.close(reading)
    return said[:-1].decode().replace("\r\n", "\n")


async def test_who_types_a_verb_is_warned_an_hour_and_ten_minutes_before(running: Running) -> None:
    await running.login()
    assert await typed(running, "whoami") == ""
    running.world.clock.now += 43200 - 3540
    # No person's, so nobody was told yet.
    assert await typed(running, "whoami", terminal=False) == ""
    assert await typed(running, "whoami", "--json") == ""
    assert (await running.aws()).stderr == b""
    assert await typed(running, "whoami") == "juniper: team: the sign-in ends in 59 min, then run: juniper login\n"
    assert await typed(running, "whoami") == ""
    running.world.clock.now += 3000
    assert await typed(running, "whoami") == "juniper: team: the sign-in ends in 9 min, then run: juniper login\n"
    assert await typed(running, "whoami") == ""


async def test_who_is_signed_out_is_warned_of_nothing(running: Running) -> None:
    answer: Any = (await running.control("warnings")).events[-1]
    assert answer["warnings"] == []
