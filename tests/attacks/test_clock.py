"""A laptop's clock that was ahead and is set back."""

from __future__ import annotations

from tests.agent.doubles import FakeClock
from tests.agent.harness import Running
from tests.agent.test_hosts import docker, secret_of

from .conftest import DENIED


async def test_it_revives_no_login(shop: Running, clock: FakeClock) -> None:
    await shop.login()
    clock.now += 35_000
    first = await secret_of(shop)
    clock.now -= 35_000
    shop.world.issuer.refusal = DENIED
    clock.now += 3700
    assert first.encode() not in (await docker(shop)).stdout


async def test_it_keeps_no_refusal(shop: Running, clock: FakeClock) -> None:
    await shop.login()
    clock.now += 5000
    shop.world.issuer.refusal = DENIED
    assert (await docker(shop)).status == 1
    shop.world.issuer.refusal = None
    clock.now -= 5000
    assert await secret_of(shop)
