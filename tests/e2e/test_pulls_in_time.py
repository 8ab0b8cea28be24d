"""Hours of pulling on one clock: no login that is over is ever shown, and none outlives its hour at GitLab."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import pytest

from .whole import Whole

pytestmark = pytest.mark.e2e
SCOPE = "repository:shop/billing/api:pull"


@pytest.fixture
def host(inside: Whole) -> str:
    """The registry's."""
    (host,) = inside.agent.desks["sandbox"].issuer.hosts.registries
    return host


async def login(inside: Whole, host: str) -> tuple[str, str]:
    """What Docker is told."""
    answer = await inside.docker(host)
    assert answer.status == 0, answer
    said = json.loads(answer.stdout)
    return said["Username"], said["Secret"]


async def realm(inside: Whole, shown: tuple[str, str]) -> int:
    """The status of GitLab's answer to a registry's client, which asks anew every few minutes of a pull."""
    url = f"{inside.doubles.gitlab.url}/jwt/auth"
    asked = {"service": "container_registry", "scope": SCOPE}
    async with (
        aiohttp.ClientSession(headers={"Authorization": aiohttp.encode_basic_auth(*shown)}) as session,
        session.get(url, params=asked) as answer,
    ):
        return answer.status


async def test_three_hours_of_pulls_show_gitlab_nothing_wrong(inside: Whole, host: str) -> None:
    """Four pulls a minute, each with the login of the moment: the office's address stays welcome."""
    shown = set()
    for _minute in range(180):
        inside.clock.pass_by(60)
        mine = await login(inside, host)
        shown.add(mine[1])
        assert [await realm(inside, mine) for _ in range(4)] == [200] * 4
        await inside.minter.sweep.once()
        # A renewal behind an answer lands before the next minute, as it does where minutes are long.
        await inside.agent.broker._flights.drain(5.0)
    assert inside.doubles.gitlab.basic.failed == {}
    assert 4 <= len(shown) <= 6
    assert len(inside.doubles.gitlab.deploy_tokens.rows) <= 2


async def test_a_pull_that_outlasts_its_login_goes_on_with_the_next(inside: Whole, host: str) -> None:
    old = await login(inside, host)
    (row,) = inside.doubles.gitlab.deploy_tokens.rows
    assert row.expires_at is not None
    inside.clock.pass_by(row.expires_at - inside.clock() - 1)
    assert await realm(inside, old) == 200
    inside.clock.pass_by(2)
    assert await realm(inside, old) == 401
    new = await login(inside, host)
    assert new[1] != old[1]
    assert await realm(inside, new) == 200
    assert list(inside.doubles.gitlab.basic.failed.values()) == [], "a success forgets the one failure"


async def test_a_token_that_its_agent_never_gave_back_is_swept_at_its_end(inside: Whole, host: str) -> None:
    await login(inside, host)
    inside.clock.pass_by(3599)
    await inside.minter.sweep.once()
    assert len(inside.doubles.gitlab.deploy_tokens.rows) == 1
    inside.clock.pass_by(2)
    await inside.minter.sweep.once()
    assert inside.doubles.gitlab.deploy_tokens.rows == []


async def test_a_session_s_end_takes_its_tokens_along_by_the_clock_alone(inside: Whole, host: str) -> None:
    """The laptop may be gone: nothing of it is asked."""
    opened = await inside.open_session(seconds=1200)
    socket = opened["socket"]
    answer = await inside._speak("docker-credential-juniper", "get", said=host.encode(), socket=Path(str(socket)))
    assert answer.status == 0, answer
    (row,) = inside.doubles.gitlab.deploy_tokens.rows
    assert row.expires_at is not None
    assert row.expires_at - inside.clock() <= 1200
    inside.clock.pass_by(600)
    await inside.issuer.sweep.once()
    assert len(inside.doubles.gitlab.deploy_tokens.rows) == 1
    inside.clock.pass_by(601)
    await inside.issuer.sweep.once()
    await inside.minter.sweep.once()
    assert inside.doubles.gitlab.deploy_tokens.rows == []


async def test_a_denial_takes_the_deploy_tokens_along_at_once(inside: Whole, host: str) -> None:
    await login(inside, host)
    await inside.issuer.desk().act("deny", {"kind": "user", "value": "7"})
    await inside.issuer.minting.once()
    assert inside.doubles.gitlab.deploy_tokens.rows == []


async def test_gitlab_s_answers_that_nobody_can_believe_leave_nothing_behind(inside: Whole, host: str) -> None:
    for status in ("403", "404", "422", "500"):
        inside.drill("gitlab", "break", status, "/api/v4/projects/*/deploy_tokens")
        inside.agent.broker.forgive("sandbox")
        answer = await inside.docker(host)
        assert (answer.status, answer.stdout.count(b"\n")) == (1, 1)
        assert b"the minter" in answer.stdout
    inside.drill("gitlab", "heal")
    await inside.issuer.minting.once()
    await inside.minter.sweep.once()
    assert inside.doubles.gitlab.deploy_tokens.rows == []
