"""Tools in a loop, and many tools at once: how often somebody upstream is asked."""

from __future__ import annotations

import asyncio

from tests.agent.doubles import FakeClock
from tests.agent.harness import Running
from tests.agent.test_hosts import docker, secret_of

from .conftest import DENIED


async def test_many_cold_callers_are_one_look_at_the_catalogue(shop: Running) -> None:
    await shop.login()
    shop.agent.desks["team"].issuer.forget()
    before = shop.world.issuer.calls["/catalogue"]
    answers = await asyncio.gather(*(docker(shop) for _ in range(50)))
    assert {answer.status for answer in answers} == {0}
    assert shop.world.issuer.calls["/catalogue"] - before == 1


async def test_a_loop_of_pulls_with_a_login_that_was_ended_shuts_out_nobody(shop: Running) -> None:
    """Docker does not say that a login was turned down; 300 wrong ones in a minute shut out a whole office."""
    await shop.login()
    await secret_of(shop)
    shop.world.issuer.refusal = DENIED
    answers = [await docker(shop) for _ in range(300)]
    assert sum(answer.status == 0 for answer in answers) <= 101
    assert answers[-1].stdout.startswith(b"scope 'image-reader' is refused: you are denied")


async def test_a_loop_of_good_pulls_goes_on_with_few_logins(shop: Running, clock: FakeClock) -> None:
    await shop.login()
    for _ in range(4):
        assert {(await docker(shop)).status for _ in range(250)} == {0}
        clock.now += 30
    assert shop.world.issuer.calls["/token"] <= 3
