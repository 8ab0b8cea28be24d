"""What tools may say of one place, and what that costs."""

from __future__ import annotations

import pytest

from tests.agent.harness import Running, Spoken
from tests.agent.test_hosts import GITLAB, REGISTRY, docker, git


@pytest.mark.parametrize(
    "path", ["shop/billing/../tax.git", "shop/billing.git/../../shop/tax.git", "./shop/billing.git"]
)
async def test_a_path_that_climbs_gets_no_projects_login(shop: Running, path: str) -> None:
    await shop.login()
    said = f"protocol=https\nhost={GITLAB}\npath={path}\n".encode()
    assert await git(shop, said=said) == Spoken(b"", b"", 0)
    assert shop.world.issuer.minted == {}


async def test_long_spellings_are_not_kept(shop: Running) -> None:
    await shop.login()
    for number in range(20):
        assert (await docker(shop, f"{REGISTRY}/shop/billing/{number:060000}")).status == 0
    (held,) = shop.agent.broker.held()
    assert sum(map(len, held.replies.values())) < 10_000
