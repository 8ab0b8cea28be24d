"""One sandbox for all tests; each asks for the person it needs, and puts right what it broke."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .company import Company, company


@pytest.fixture(scope="package")
def place() -> Iterator[Path]:
    """A private folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="jun-") as name:
        yield Path(name)


@pytest.fixture(scope="package")
def up(place: Path) -> Iterator[Company]:
    """The company; anybody may be signed in."""
    with company(place) as made:
        yield made


@pytest.fixture
def shop(up: Company) -> Company:
    """The company with its developer signed in."""
    if up.signed_in() != "developer":
        up.sign_in()
    return up


@pytest.fixture
def healed(up: Company) -> Iterator[Company]:
    """The company for a test that breaks something or signs somebody else in."""
    yield up
    up.heal()
