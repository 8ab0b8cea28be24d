"""The agent's own fixtures, and an agent whose issuer stands for a registry and a GitLab."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from juniperd.config import Hosts
from tests.agent.conftest import _quick_polls, clock, world
from tests.agent.doubles import Doubles
from tests.agent.harness import Running, config_for, serving
from tests.agent.test_hosts import GITLAB, REGISTRY, row

__all__ = ["DENIED", "_quick_polls", "clock", "world"]
DENIED = (403, {"error": "access_denied", "error_description": "you are denied"})


@pytest.fixture
async def shop(world: Doubles, tmp_path: Path) -> AsyncIterator[Running]:
    world.issuer.rows = [row("image-reader", "registry", REGISTRY), row("code-reader", "git", GITLAB)]
    config = config_for(world, tmp_path)
    entry = replace(config.issuers["team"], hosts=Hosts({REGISTRY: "shop/billing"}, frozenset({GITLAB})))
    async with serving(world, tmp_path, config=replace(config, issuers={"team": entry})) as running:
        yield running
