"""What the doctor's probe may be made to do by whoever reaches the socket."""

from __future__ import annotations

import pytest

from tests.agent.harness import Running, speak


@pytest.mark.parametrize(
    ("scope", "kind"),
    [("image-reader", "registry"), ("code-reader", "git"), ("image-reader", "docker"), ("image-reader", "Registry")],
)
async def test_it_has_no_deploy_token_made(shop: Running, scope: str, kind: str) -> None:
    await shop.login()
    answer = await shop.control("probe", scope=scope, kind=kind)
    assert answer.status != 0
    assert f"nothing of kind '{kind}' is tried" in answer.stderr.decode()


@pytest.mark.parametrize("kind", ["aws", "kubernetes", "api"])
@pytest.mark.parametrize("scope", ["image-reader", "code-reader"])
async def test_a_deploy_tokens_scope_named_as_another_kind_leaves_none(shop: Running, scope: str, kind: str) -> None:
    await shop.login()
    for party in (None, "at-registry", "at-git"):
        await shop.control("probe", scope=scope, kind=kind, relying_party=party)
    assert not shop.world.issuer.minted
    await speak(shop.path, "juniper-token", "--audience", "at-registry", "--scope", scope)
    assert not shop.world.issuer.minted
    assert not [held for held in shop.agent.broker.held() if held.lease.key.scope == scope]
