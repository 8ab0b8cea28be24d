"""Ends of orders that GitLab never answered: few questions, and no token that a look came too early for stays."""

from __future__ import annotations

import asyncio

import pytest

from juniperd.errors import UpstreamUnreachable
from juniperd.minter.gitlab import Gitlab, Row
from juniperd.minter.looks import RECENT
from juniperd.order import Order
from juniperd.sandbox.faults import Fault

from .harness import OTHER, PROJECT, Bench, end

TOKENS = "*/deploy_tokens"


async def lost(bench: Bench, number: int = 1, project_id: int = PROJECT) -> list[Order]:
    """Orders that a GitLab which is well again never answered."""
    orders = [bench.issuer.mint(project_id=project_id) for _ in range(number)]
    bench.gitlab.faults.add(Fault(TOKENS, status=502))
    for order in orders:
        assert (await bench.order(order))[0] == 503
    bench.gitlab.faults.heal()
    bench.gitlab.asked.clear()
    return orders


def make_late(bench: Bench, order: Order) -> None:
    """GitLab was still at work on it."""
    add = bench.gitlab.deploy_tokens.add
    add(order.project_id, order.scopes, name=order.name, username=order.username, expires_at=order.ends_at)


async def test_ends_of_lost_orders_are_few_questions_to_a_gitlab_that_just_came_back(bench: Bench) -> None:
    """The issuer sends each of them again every minute until the hour is over."""
    for order in await lost(bench, 20):
        assert (await bench.order(end(order)))[0] == 503
    assert len(bench.gitlab.asked) == 1


async def test_those_that_come_at_once_share_a_look_and_each_ends_its_own_token(bench: Bench) -> None:
    orders = await lost(bench, 10)
    for order in orders[:5]:
        make_late(bench, order)
    answers = await asyncio.gather(*(bench.order(end(order)) for order in orders))
    assert [status for status, _ in answers] == [200] * 5 + [503] * 5
    assert bench.tokens == []
    assert len([line for line in bench.gitlab.asked if line.startswith("GET")]) == 2  # a page, and an empty one


async def test_each_project_is_looked_through_for_itself(bench: Bench) -> None:
    (mine,), (other,) = await lost(bench), await lost(bench, project_id=OTHER)
    make_late(bench, other)
    assert [(await bench.order(end(order)))[0] for order in (mine, other)] == [503, 200]


async def test_a_token_made_after_a_look_is_found_by_the_sweep_and_by_the_next_look(bench: Bench) -> None:
    first, second = await lost(bench, 2)
    assert (await bench.order(end(first)))[0] == 503
    make_late(bench, first)
    assert (await bench.order(end(first)))[0] == 503
    assert await bench.minter.sweep.once()
    assert bench.tokens == []
    assert (await bench.order(end(first)))[0] == 200
    make_late(bench, second)
    bench.clock.pass_(RECENT)
    assert ((await bench.order(end(second)))[0], bench.tokens) == (200, [])


async def test_a_look_from_before_an_order_was_lost_says_nothing_of_it(bench: Bench) -> None:
    (earlier,) = await lost(bench)
    assert (await bench.order(end(earlier)))[0] == 503
    (order,) = await lost(bench)
    make_late(bench, order)
    assert ((await bench.order(end(order)))[0], bench.tokens) == (200, [])


async def test_a_look_from_before_a_tokens_end_is_no_end(bench: Bench) -> None:
    """After it nobody looks again."""
    first, second = await lost(bench, 2)
    bench.clock.pass_(899)
    assert (await bench.order(end(first)))[0] == 503
    make_late(bench, second)
    bench.clock.pass_(1)
    assert ((await bench.order(end(second)))[0], bench.tokens) == (200, [])
    bench.gitlab.asked.clear()
    assert (await bench.order(end(first)))[0] == 200
    assert bench.gitlab.asked == []


async def test_a_clock_that_is_set_back_makes_every_look_an_old_one(bench: Bench) -> None:
    (order,) = await lost(bench)
    assert (await bench.order(end(order)))[0] == 503
    make_late(bench, order)
    bench.clock.pass_(-1)
    assert (await bench.order(end(order)))[0] == 200


async def test_a_look_that_failed_is_not_kept(bench: Bench) -> None:
    (order,) = await lost(bench)
    make_late(bench, order)
    bench.front.answers = {"GET": 500}
    assert (await bench.order(end(order)))[0] == 503
    bench.front.answers = {}
    assert ((await bench.order(end(order)))[0], bench.tokens) == (200, [])


async def test_who_asks_in_the_turn_in_which_a_look_ends_shares_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, let_go, asked = asyncio.Event(), asyncio.Event(), []

    async def rows(_: Gitlab, project_id: int) -> list[Row]:
        asked.append(project_id)
        begun.set()
        await let_go.wait()
        return []

    monkeypatch.setattr(Gitlab, "rows", rows)
    looks = bench.minter.mint._looks
    first = asyncio.create_task(looks.rows(PROJECT, since=0))
    await begun.wait()
    let_go.set()
    second = asyncio.create_task(looks.rows(PROJECT, since=0))
    assert (await first, await second) == ([], [])
    assert asked == [PROJECT]


async def test_who_goes_away_ends_no_look_for_the_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go, asked = asyncio.Event(), []

    async def rows(_: Gitlab, project_id: int) -> list[Row]:
        asked.append(project_id)
        await let_go.wait()
        raise UpstreamUnreachable("GitLab is down")

    monkeypatch.setattr(Gitlab, "rows", rows)
    looks = bench.minter.mint._looks
    gone, stays = (asyncio.create_task(looks.rows(PROJECT, since=0)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone})
    let_go.set()
    with pytest.raises(UpstreamUnreachable):
        await stays
    assert asked == [PROJECT]
