"""A login that is made while the reason for it ends."""

from __future__ import annotations

import asyncio

import pytest

from juniperd.model import IssuedToken
from tests.agent.harness import Running, until
from tests.agent.test_hosts import docker, leases


@pytest.mark.parametrize("verb", ["lock", "logout"])
async def test_what_lands_after_the_sign_in_is_gone_is_given_back(shop: Running, verb: str) -> None:
    """It would live for its hour at GitLab, and nobody would know that it does."""
    await shop.login()
    issuer, made, go_on = shop.agent.desks["team"].issuer, asyncio.Event(), asyncio.Event()
    token = issuer.token

    async def slowly(*words: object, **named: object) -> IssuedToken:
        issued = await token(*words, **named)  # type: ignore[arg-type]
        made.set()
        await go_on.wait()
        return issued

    issuer.token = slowly  # type: ignore[method-assign]
    asked = asyncio.create_task(docker(shop))
    await made.wait()
    (secret,) = shop.world.issuer.minted
    await shop.control(verb)
    go_on.set()
    assert (await asked).status == 1
    assert leases(shop) == []
    await until(lambda: shop.world.issuer.ended == [secret])
