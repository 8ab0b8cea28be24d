"""ECR by its other names: for dual-stack and FIPS it answers the plain one, and so for every client."""

from __future__ import annotations

from dataclasses import replace

import pytest

from juniperd.errors import RelyingPartyRefused
from juniperd.exchanges import registry
from tests.agent.test_exchange_registry import LOCAL, answer, ecr, held


@pytest.mark.parametrize(
    "host",
    [
        "123456789012.dkr-ecr.eu-west-1.on.aws",
        "123456789012.dkr.ecr-fips.eu-west-1.amazonaws.com",
        "123456789012.dkr-ecr-fips.eu-west-1.on.aws",
    ],
)
async def test_a_host_that_policy_takes_gets_its_login(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    exchange = registry.make(LOCAL)
    monkeypatch.setattr(registry.RegistryExchange, "_ask", lambda *_: answer())
    assert (await exchange.derive(held(9e9), replace(ecr(), host=host), now=0.0)).host == host


@pytest.mark.parametrize("said", ["999999999999.dkr.ecr.eu-west-1", "123456789012.dkr.ecr.us-east-1"])
async def test_another_account_or_region_is_another_registry(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    exchange = registry.make(LOCAL)
    monkeypatch.setattr(
        registry.RegistryExchange, "_ask", lambda *_: answer(proxyEndpoint=f"https://{said}.amazonaws.com")
    )
    with pytest.raises(RelyingPartyRefused, match="no login for"):
        await exchange.derive(held(9e9), ecr(), now=0.0)
