"""Tools in a loop, and many tools at once: how often somebody upstream is asked."""

from __future__ import annotations

import asyncio

from tests.agent.harness import Running
from tests.agent.test_hosts import docker


async def test_many_cold_callers_are_one_look_at_the_catalogue(shop: Running) -> None:
    await shop.login()
    shop.agent.desks["team"].issuer.forget()
    before = shop.world.issuer.calls["/catalogue"]
    answers = await asyncio.gather(*(docker(shop) for _ in range(50)))
    assert {answer.status for answer in answers} == {0}
    assert shop.world.issuer.calls["/catalogue"] - before == 1
