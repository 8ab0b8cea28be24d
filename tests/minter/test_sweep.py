"""Tokens end by the minter's own clock, and stay due until GitLab says that they are gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from juniperd.minter.sweep import LOOK_AGAIN
from juniperd.sandbox.faults import Fault
from tests.agent.harness import until

from .harness import Bench, end

if TYPE_CHECKING:
    import pytest


@asynccontextmanager
async def sweeping(bench: Bench) -> AsyncIterator[None]:
    running = asyncio.create_task(bench.minter.sweep.run())
    try:
        yield
    finally:
        running.cancel()


async def test_what_is_over_ends_and_what_is_not_goes_on(bench: Bench) -> None:
    async with sweeping(bench):
        short = bench.issuer.mint(ends_at=bench.clock() + 60)
        long = bench.issuer.mint(ends_at=bench.clock() + 600)
        await bench.order(short)
        await bench.order(long)
        bench.clock.pass_(61)
        bench.minter.sweep.look()
        await until(lambda: bench.tokens == [long.name])
        assert (await bench.order(end(short)))[0] == 200


async def test_it_sleeps_no_longer_than_to_the_next_end(bench: Bench) -> None:
    pause = bench.minter.sweep._pause
    assert await pause() == LOOK_AGAIN
    await bench.order(bench.issuer.mint(ends_at=bench.clock() + 10))
    assert await pause() == 10
    bench.clock.pass_(10)
    assert await pause() == LOOK_AGAIN
    assert bench.tokens == []


async def test_an_end_that_gitlab_missed_stays_due(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    order, over = bench.issuer.mint(), bench.issuer.mint(ends_at=bench.clock() + 60)
    await bench.order(order)
    await bench.order(over)
    bench.front.down = True
    status, said = await bench.order(end(order))
    assert (status, said["error"]) == (503, "temporarily_unavailable")
    bench.clock.pass_(61)
    with caplog.at_level(logging.WARNING):
        assert [await bench.minter.sweep._pause() for _ in range(8)] == [2, 4, 8, 16, 32, 60, 60, 60]
    assert "stays due" in caplog.text
    bench.minter.sweep._failures = 5000
    assert await bench.minter.sweep._pause() == 60
    assert len(bench.tokens) == 2
    bench.front.down = False
    assert await bench.minter.sweep._pause() == LOOK_AGAIN
    assert bench.tokens == []


async def test_what_is_under_way_is_none_of_its_business(bench: Bench) -> None:
    bench.front.keeps = True
    order = bench.issuer.mint()
    minting = asyncio.create_task(bench.order(order))
    await bench.front.kept.wait()
    assert await bench.minter.sweep.once()
    bench.front.let_go.set()
    assert ((await minting)[0], bench.tokens) == (201, [order.name])
    assert await bench.minter.sweep.once()
    assert bench.tokens == [order.name]


async def test_one_token_that_stays_holds_up_no_other(bench: Bench) -> None:
    first, second = (bench.issuer.mint(ends_at=bench.clock() + 60) for _ in range(2))
    await bench.order(first)
    await bench.order(second)
    bench.gitlab.faults.add(Fault("*/deploy_tokens/1", status=500))
    bench.clock.pass_(61)
    assert not await bench.minter.sweep.once()
    assert bench.tokens == [first.name]


async def test_one_project_that_fails_holds_up_no_other(bench: Bench) -> None:
    mine = bench.issuer.mint(project_id=44, ends_at=bench.clock() + 60)
    lost = bench.issuer.mint(ends_at=bench.clock() + 60)
    await bench.order(lost)
    await bench.order(mine)
    bench.gitlab.world.set_role("juniper-minter", "shop/billing", "developer")
    bench.clock.pass_(61)
    assert not await bench.minter.sweep.once()
    assert bench.tokens == [lost.name]
