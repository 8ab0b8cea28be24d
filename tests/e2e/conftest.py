"""One sandbox for all tests; each asks for the person it needs, and puts right what it broke."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends

from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.company import ACCOUNT, REGION

from .company import Company, company
from .whole import Whole, whole


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


@pytest.fixture(scope="module")
def account() -> Iterator[AwsAccount]:
    """AWS, with policies in force."""
    made = AwsAccount(ACCOUNT, REGION)
    made.start()
    yield made
    made.stop()


Companies = Callable[..., AbstractAsyncContextManager[Whole]]


@pytest.fixture
def companies(account: AwsAccount, monkeypatch: pytest.MonkeyPatch) -> Companies:
    """Makes everything in one loop, with nobody signed in; moto's accounts are module state, so they begin anew."""

    @asynccontextmanager
    async def make(**options: Any) -> AsyncIterator[Whole]:
        for backends in (iam_backends, s3_backends):
            backends[ACCOUNT].reset()
        with tempfile.TemporaryDirectory(prefix="jun-") as place:
            async with whole(Path(place), account, monkeypatch, **options) as made:
                yield made

    return make


@pytest.fixture
async def inside(companies: Companies) -> AsyncIterator[Whole]:
    """Everything, with the developer signed in."""
    async with companies() as made:
        await made.sign_in()
        yield made
