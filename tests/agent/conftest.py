"""Fixtures: the doubles, a folder fit for a socket, and an agent that serves before them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from .doubles import Doubles, FakeClock, doubles
from .harness import Running, serving


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


@pytest.fixture(autouse=True)
def _quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doubles ask for polls every hundredth of a second; no real provider may."""
    monkeypatch.setattr("juniperd.identity.device.SHORTEST_INTERVAL", 0.01)


@pytest.fixture
async def running(world: Doubles, folder: Path) -> AsyncIterator[Running]:
    async with serving(world, folder) as made:
        yield made
