"""One sandbox for all tests, its developer signed in; tests that change it put it right again."""

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
def shop(place: Path) -> Iterator[Company]:
    """A company where the developer is signed in."""
    with company(place) as made:
        made.sign_in()
        yield made


@pytest.fixture
def healed(shop: Company) -> Iterator[Company]:
    """The company for a test that breaks something or signs somebody else in."""
    yield shop
    shop.heal()
    shop.sandbox("idp", "--enable", "developer")
    if shop.signed_in() != "developer":
        shop.sign_in()
    shop.sandbox("idp", "--as", "developer")
