"""What a cheap request costs the issuer's loop, on which everybody waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from juniperd.issuer import audit, health
from tests.issuer.doubles import Company, open_company
from tests.issuer.test_health import figures, with_ops
from tests.issuer.test_history import add, log


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path, change=with_ops) as opened:
        yield opened


async def test_figures_of_a_long_week_let_others_have_their_turn(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "AT_ONCE", 10)
    await company.signed_in()
    before = await figures(company)
    largest = 0
    real = health.Health._count

    def counted(self: health.Health, connection: Any) -> None:
        nonlocal largest
        begun = self._seq
        real(self, connection)
        largest = max(largest, self._seq - begun)

    monkeypatch.setattr(health.Health, "_count", counted)
    await add(company, 95)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    waiting = asyncio.create_task(others())
    after = await figures(company)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    name = "juniper_events_total{event=decision}"
    assert after[name] - before.get(name, 0) == 95
    assert (largest, turns > 9) == (10, True)


async def test_a_person_with_much_of_it_has_no_more_read_than_is_shown(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, token = await company.signed_in()
    await add(company, 600)
    read = 0
    real = audit.of_person

    def counting(*words: Any, **more: Any) -> Iterator[Mapping[str, object]]:
        nonlocal read
        for record in real(*words, **more):
            read += 1
            yield record

    monkeypatch.setattr(audit, "of_person", counting)
    assert len(await log(laptop, token)) == 200
    assert read == 201
