"""Fixtures: the doubles, a folder fit for a socket, and an agent that serves before them."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from juniperd.app import Agent
from juniperd.door import open_door
from juniperd.journal import Journal

from .doubles import Doubles, FakeClock, doubles
from .harness import Running, config_for


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def world(clock: FakeClock) -> AsyncIterator[Doubles]:
    async with doubles(clock) as made:
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder with a short path, as a socket needs it."""
    with tempfile.TemporaryDirectory(prefix="juniper-") as name:
        yield Path(name)


@pytest.fixture
async def running(world: Doubles, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr("juniperd.identity.device.SHORTEST_INTERVAL", 0.01)
    world.idp.interval = 0.01
    log = io.StringIO()
    agent = Agent(config_for(world, folder), clock=world.clock, journal=Journal(log, world.clock))
    path = folder / "agent.sock"
    task = asyncio.create_task(agent.serve(open_door(path), socket_path=path))
    await asyncio.sleep(0)
    try:
        yield Running(agent, path, world, log)
    finally:
        agent.stop.set()
        with suppress(asyncio.CancelledError):
            await task
