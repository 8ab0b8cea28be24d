"""Two issuers on one laptop, one of which says that it stands for the other's registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from juniperd.config import Hosts, IssuerEntry
from tests.agent.doubles import Doubles
from tests.agent.harness import config_for, serving
from tests.agent.test_hosts import REGISTRY, docker, row


async def test_a_catalogue_takes_no_host_that_set_up_gave_to_another(world: Doubles, tmp_path: Path) -> None:
    """Whoever stands first in the configuration would otherwise answer, with its own secret, for any host it names."""
    world.issuer.rows = [row("image-reader", "registry", REGISTRY)]
    config = config_for(world, tmp_path)
    team = config.issuers["team"]
    other = IssuerEntry("other", "http://127.0.0.1:9", team.idp, Hosts({REGISTRY: "shop/billing"}))
    async with serving(world, tmp_path, config=replace(config, issuers={"team": team, "other": other})) as agent:
        assert (await agent.control("login", issuer="team")).status == 0
        await agent.control("catalogue", issuer="team")
        answer = await docker(agent, f"{REGISTRY}/shop/billing/api")
    assert world.issuer.minted == {}
    assert answer.stdout == b"nobody is signed in; run: juniper login\n"
