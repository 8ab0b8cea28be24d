"""A person's desktop, on a real bus: told that a tool needs a sign-in and that one ends; seldom, and at nobody's cost."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from juniperd import notices

from .desktop import Desktop, desktop
from .doubles import Doubles
from .harness import Running, config_for, serving, speak, until
from .session_bus import session_bus

CURE = "run: juniper login"


@pytest.fixture
def bus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with session_bus(folder) as address:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        yield address


@pytest.fixture
def screen(bus: str) -> Iterator[Desktop]:
    with desktop(bus) as made:
        yield made


@pytest.fixture
async def watched(world: Doubles, folder: Path, screen: Desktop) -> AsyncIterator[Running]:
    """An agent whose person has a desktop."""
    del screen
    async with serving(world, folder) as made:
        yield made


async def settled(running: Running) -> None:
    """What was to be shown is shown."""
    showing = running.agent.notices._showing
    await until(lambda: showing is None or showing.done())


async def said(screen: Desktop) -> tuple[str, str]:
    """Headline and line of the next notice, which has nothing else that could be followed or pressed."""
    app, replaces, icon, headline, line, actions, hints, expires = await asyncio.to_thread(screen.said)
    assert (app, replaces, icon, actions, hints, expires) == ("Juniper", 0, "", [], {}, -1)
    return headline, line


async def test_a_tool_without_a_sign_in_is_announced_once(watched: Running, screen: Desktop) -> None:
    refused = await watched.aws()
    assert refused.stderr == b"juniper-aws: nobody is signed in; run: juniper login\n"
    assert await said(screen) == ("Juniper: aws needs a sign-in", CURE)
    await settled(watched)
    await watched.aws()
    watched.world.clock.now += 7200
    await watched.aws()
    await settled(watched)
    assert screen.shown.empty()


async def test_the_next_end_is_announced_but_not_within_the_hour(watched: Running, screen: Desktop) -> None:
    await speak(watched.path, "docker-credential-juniper", "get", stdin=b"registry.example.com\n")
    await watched.aws()
    await said(screen)
    await settled(watched)
    await watched.login()
    assert (await watched.control("logout")).status == 0
    await watched.aws()
    await settled(watched)
    assert screen.shown.empty()
    watched.world.clock.now += notices.QUIET
    await watched.aws()
    assert await said(screen) == ("Juniper: aws needs a sign-in", CURE)


async def test_the_end_is_announced_an_hour_and_ten_minutes_before(watched: Running, screen: Desktop) -> None:
    await watched.login()
    await watched.agent.notices.look()
    for left, shown in ((3540, "59 min"), (3000, None), (540, "9 min"), (60, None)):
        watched.world.clock.now += (await watched.agent._seconds_left())["team"] or 0.0
        watched.world.clock.now -= left
        await watched.agent.notices.look()
        if shown is not None:
            assert await said(screen) == (f"Juniper: the sign-in ends in {shown}", CURE)
        await settled(watched)
        assert screen.shown.empty()


async def test_who_locked_it_is_not_told(watched: Running, screen: Desktop) -> None:
    await watched.login()
    await watched.control("lock")
    assert b"juniper unlock" in (await watched.aws()).stderr
    assert watched.agent.notices._showing is None
    assert screen.shown.empty()


async def test_another_failure_is_none_of_the_desktop_s(watched: Running, screen: Desktop) -> None:
    await watched.login()
    assert (await speak(watched.path, "juniper-aws", "--nonsense")).status != 0
    assert watched.agent.notices._showing is None
    assert screen.shown.empty()


@pytest.mark.usefixtures("screen")
async def test_it_is_off_where_the_configuration_says_so(world: Doubles, folder: Path) -> None:
    config = replace(config_for(world, folder), desktop_notices=False)
    async with serving(world, folder, config=config) as running:
        await running.aws()
        assert running.agent.notices._showing is None


async def test_a_desktop_that_is_silent_costs_nobody_a_moment(watched: Running, screen: Desktop) -> None:
    screen.silent = True
    began = time.monotonic()
    assert (await watched.aws()).status == 77
    assert time.monotonic() - began < 1.0
    await said(screen)
    showing = watched.agent.notices._showing
    assert showing is not None
    assert not showing.done()


async def test_a_bus_that_takes_callers_and_says_nothing_costs_nobody_a_moment(
    world: Doubles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(folder / "hung"))
        hung.listen()
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={folder}/hung")
        monkeypatch.setattr("juniperd.notification.LIMIT", 0.2)
        async with serving(world, folder) as running:
            began = time.monotonic()
            assert (await running.aws()).status == 77
            assert time.monotonic() - began < 1.0
            await settled(running)
            assert '"not_notified"' in running.log.getvalue()


@pytest.mark.parametrize("address", ["unix:path=/nowhere/bus", "tcp:host=localhost", "nonsense"])
async def test_a_bus_that_is_not_there_is_noted(
    world: Doubles, folder: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    async with serving(world, folder) as running:
        assert (await running.aws()).stderr == b"juniper-aws: nobody is signed in; run: juniper login\n"
        await settled(running)
        assert '"not_notified"' in running.log.getvalue()


async def test_a_desktop_where_nobody_shows_anything_is_noted(world: Doubles, folder: Path, bus: str) -> None:
    del bus
    async with serving(world, folder) as running:
        await running.aws()
        await settled(running)
        assert '"kind": "DBusErrorResponse"' in running.log.getvalue()


async def test_an_agent_without_a_desktop_tries_none(
    world: Doubles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    async with serving(world, folder) as running:
        await running.aws()
        assert running.agent.notices._showing is None
