"""The issuer ends debugging sessions by its own clock, while it runs and after it was down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from juniperd.issuer.sweep import LOOK_AGAIN
from tests.agent.harness import until
from tests.issuer.doubles import Company, open_company


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


@asynccontextmanager
async def sweeping(company: Company) -> AsyncIterator[None]:
    running = asyncio.create_task(company.issuer.sweep.run())
    try:
        yield
    finally:
        running.cancel()


async def test_what_is_due_ends_and_what_is_not_goes_on(company: Company) -> None:
    laptop, token = await company.signed_in()
    async with sweeping(company):
        _, short = await laptop.open_session(token, seconds=60)
        _, long = await laptop.open_session(token, seconds=600)
        company.clock.pass_(61)
        company.issuer.sweep.look()
        await until(lambda: company.events("session_ended"))
        assert [event["session"] for event in company.events("session_ended")] == [short["id"]]
        company.clock.pass_(600)
        company.issuer.sweep.look()
        await until(lambda: len(company.events("session_ended")) == 2)
        assert company.events("session_ended")[-1]["session"] == long["id"]


async def test_it_looks_at_the_clock_by_itself(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("juniperd.issuer.sweep.LOOK_AGAIN", 0.01)
    laptop, token = await company.signed_in()
    async with sweeping(company):
        await laptop.open_session(token, seconds=60)
        company.clock.pass_(61)
        await until(lambda: company.events("session_ended"))


async def test_sleeps_no_longer_than_to_the_next_end(company: Company) -> None:
    assert await company.issuer.sweep._pause() == LOOK_AGAIN
    laptop, token = await company.signed_in()
    await laptop.open_session(token, seconds=10)
    assert await company.issuer.sweep._pause() == 10
    await laptop.open_session(token, seconds=3600)
    company.clock.pass_(10)
    assert await company.issuer.sweep._pause() == LOOK_AGAIN


async def test_a_data_base_that_cannot_be_read_is_told_and_tried_again(
    company: Company, caplog: pytest.LogCaptureFixture
) -> None:
    company.issuer.state._reader.close()
    with caplog.at_level(logging.WARNING):
        assert await company.issuer.sweep._pause() == LOOK_AGAIN
    assert "sessions that are over cannot be written down" in caplog.text
