"""What tools may say of one place, and what that costs."""

from __future__ import annotations

import pytest

from juniperd.errors import ConfigError
from juniperd.setup import hosts
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


@pytest.mark.parametrize("name", ["juniper-7\nquit=1", "juniper 7", "a:b", "\x1b[2J"])
async def test_an_issuers_user_name_says_nothing_else_to_git(shop: Running, name: str) -> None:
    await shop.login()
    shop.world.issuer.target = {"username": name}
    answer = await git(shop)
    assert (answer.stdout, answer.status) == (b"quit=1\n", 1)
    assert b"no usable user" in answer.stderr


@pytest.mark.parametrize("project", ["a/..", "../b", "./.", "a/./b", "a/../b"])
def test_a_project_that_is_dots_writes_no_section_for_a_whole_server(project: str) -> None:
    """Git reads ``https://HOST/a/..`` as the server, and the empty helper would drop the person's own for all of it."""
    scope = {"held": True, "project": project, "targets": [{"kind": "git", "host": GITLAB}]}
    with pytest.raises(ConfigError, match="where a host or project should be"):
        hosts.offers({"team": {"scopes": [scope]}}, "git")


def test_a_project_with_dots_in_its_name_is_one() -> None:
    scope = {"held": True, "project": "a.b/..c/d..", "targets": [{"kind": "git", "host": GITLAB}]}
    assert hosts.offers({"team": {"scopes": [scope]}}, "git")[0].project == "a.b/..c/d.."
