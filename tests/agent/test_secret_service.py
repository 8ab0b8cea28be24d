"""A real Secret Service: present, locked, absent, slow, dying half-way; no sign-in is lost, and none is waited for long."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from juniperd.signin import SignIn

from .doubles import Doubles
from .harness import Running, serving
from .secret_service import RealVault, SecretService, secret_service

HELPER_DEADLINE = 4.0


@pytest.fixture
def service(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretService]:
    """A bus where nobody keeps secrets yet."""
    with secret_service(folder) as made:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", made._env["DBUS_SESSION_BUS_ADDRESS"])
        yield made


@pytest.fixture
def vault(tmp_path: Path) -> RealVault:
    return RealVault(tmp_path / "state" / "sign-in.lock")


@pytest.fixture
async def kept(world: Doubles, folder: Path, service: SecretService, vault: RealVault) -> AsyncIterator[Running]:
    """An agent that has put its sign-in into an unlocked keyring, and that waits for one no longer than a test can."""
    service.start()
    async with serving(world, folder, vault=vault) as made:
        await made.login()
        made.agent.store._limit = 0.3
        yield made


def sign_in(running: Running) -> SignIn:
    found = running.agent.desks["team"].sign_in
    assert isinstance(found, SignIn)
    return found


def at_rest(running: Running) -> dict[str, Any] | None:
    """The entry in the keyring."""
    text = RealVault().get_password("juniper", running.world.issuer.url)
    return json.loads(text) if text else None


async def status(running: Running) -> Mapping[str, Any]:
    answer: Any = (await running.control("status")).events[-1]
    found: Mapping[str, Any] = answer
    return found


async def renewed(running: Running) -> None:
    """A renewal, whatever the keyring does."""
    running.world.clock.now += 300
    before = set(running.world.idp.spent)
    await sign_in(running).subject()
    assert len(running.world.idp.spent) == len(before) + 1


async def whole(running: Running) -> None:
    """The family lives and rests, and nothing of the trouble is left."""
    await renewed(running)
    rests = at_rest(running)
    assert rests is not None
    assert {rests["refresh_token"]} == running.world.idp.refresh_tokens
    assert rests["tries"] == 0
    assert (await status(running))["agent"]["store"]["note"] is None


async def test_present_it_outlives_the_agent_and_not_the_logout(
    world: Doubles, folder: Path, service: SecretService, vault: RealVault
) -> None:
    service.start()
    async with serving(world, folder, vault=vault) as before:
        await before.login()
        await renewed(before)
    async with serving(world, folder, vault=vault) as after:
        assert (await after.aws()).status == 0
        await whole(after)
        assert (await after.control("logout")).events[-1]["notes"] == []
        assert at_rest(after) is None
    assert world.idp.calls["/device"] == 1


async def test_it_outlives_the_keyring_too(
    world: Doubles, folder: Path, service: SecretService, vault: RealVault
) -> None:
    service.start()
    async with serving(world, folder, vault=vault) as before:
        await before.login()
    service.kill()
    service.start()
    async with serving(world, folder, vault=vault) as after:
        assert (await after.aws()).status == 0
        await whole(after)


async def test_locked_at_the_start_it_is_named_with_its_cure(
    world: Doubles, folder: Path, service: SecretService, vault: RealVault
) -> None:
    service.start()
    async with serving(world, folder, vault=vault) as before:
        await before.login()
    service.lock()
    async with serving(world, folder, vault=vault) as after:
        said = await after.aws()
        assert (said.status, said.stderr.split(b";")[0]) == (1, b"juniper-aws: the keyring is locked")
        assert (await status(after))["sign_in"]["state"] == "keyring-locked"
        service.kill()
        service.start()
        world.clock.now += 31
        assert (await after.aws()).status == 0
        await whole(after)


async def test_locked_while_the_agent_runs_nothing_stops(kept: Running, service: SecretService) -> None:
    service.lock()
    for _ in range(3):
        await renewed(kept)
    assert "the keyring is locked" in (await status(kept))["agent"]["store"]["note"]
    service.kill()
    service.start()
    await whole(kept)


async def test_absent_the_sign_in_is_in_memory_only_and_says_so(
    world: Doubles, folder: Path, service: SecretService, vault: RealVault
) -> None:
    async with serving(world, folder, vault=vault) as running:
        assert (await running.aws()).stderr == b"juniper-aws: nobody is signed in; run: juniper login\n"
        await running.login()
        for _ in range(2):
            await renewed(running)
        assert (await status(running))["agent"]["store"]["note"].startswith(
            "sign-ins are kept in memory only: there is no usable keyring"
        )
        service.start()
        await whole(running)


async def test_one_that_comes_late_has_what_was_left_in_it(
    world: Doubles, folder: Path, service: SecretService, vault: RealVault
) -> None:
    """As at the start of a desktop, where the first tool may be quicker than the keyring."""
    service.start()
    async with serving(world, folder, vault=vault) as before:
        await before.login()
    service.kill()
    async with serving(world, folder, vault=vault) as after:
        assert (await after.aws()).status == 77
        service.start()
        world.clock.now += 31
        assert (await after.aws()).status == 0
        await whole(after)


async def test_slow_at_the_start_a_tool_is_answered_before_it_gives_up(
    world: Doubles, folder: Path, service: SecretService, vault: RealVault
) -> None:
    """Stopped, it is as slow as can be: with the agent's own patience, and not one shortened for a test."""
    service.start()
    async with serving(world, folder, vault=vault) as before:
        await before.login()
    async with serving(world, folder, vault=vault) as after:
        service.stop()
        started = time.monotonic()
        said = await after.aws()
        assert time.monotonic() - started < HELPER_DEADLINE
        assert said.stderr.startswith(b"juniper-aws: the keyring did not answer within 3 s; unlock your keyring")
        again = time.monotonic()
        assert (await after.aws()).stderr == said.stderr
        assert time.monotonic() - again < 1.0, "it is left alone for a while"
        service.go_on()
        world.clock.now += 31
        assert (await after.aws()).status == 0
        await whole(after)


async def test_slow_while_the_agent_runs_nothing_stops(kept: Running, service: SecretService) -> None:
    await kept.aws()
    service.stop()
    for _ in range(2):
        await renewed(kept)
    assert (await kept.aws()).status == 0
    assert "did not answer" in (await status(kept))["agent"]["store"]["note"]
    service.go_on()
    await whole(kept)


async def test_dying_between_a_renewals_answer_and_its_store(
    kept: Running, service: SecretService, monkeypatch: pytest.MonkeyPatch
) -> None:
    idp = sign_in(kept)._idp
    refresh = idp.refresh

    async def and_dies(*arguments: Any, **options: Any) -> Mapping[str, object]:
        answer = await refresh(*arguments, **options)
        service.kill()
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(idp, "refresh", and_dies)
        await renewed(kept)
    await renewed(kept)
    service.start()
    rests = at_rest(kept)
    assert rests is not None
    assert (rests["refresh_token"], rests["tries"]) == ("refresh-1", 1), "marked before it went out"
    await whole(kept)


async def test_dying_while_it_is_asked(world: Doubles, folder: Path, service: SecretService, vault: RealVault) -> None:
    service.start()
    async with serving(world, folder, vault=vault) as before:
        await before.login()
    async with serving(world, folder, vault=vault) as after:
        service.stop()
        asking = asyncio.create_task(after.aws())
        await asyncio.sleep(0)
        service.kill()
        said = await asyncio.wait_for(asking, HELPER_DEADLINE)
        assert said.status != 0
        assert said.stderr.count(b"\n") == 1
        assert b"; " in said.stderr
        service.start()
        world.clock.now += 31
        assert (await after.aws()).status == 0
        await whole(after)


async def test_the_agent_killed_while_its_keyring_was_gone_leaves_a_token_that_is_tried_once(
    world: Doubles, folder: Path, service: SecretService, vault: RealVault
) -> None:
    """The worst of days: what came back never rested, and nobody has it any more."""
    service.start()
    async with serving(world, folder, vault=vault) as before:
        await before.login()
        service.kill()
        await renewed(before)
    service.start()
    async with serving(world, folder, vault=vault) as after:
        for _ in range(3):
            said = await after.aws()
            assert said.stderr.startswith(b"juniper-aws: the answer to a renewal was lost, and then Test sign-in ended")
            assert said.stderr.endswith(b"; run: juniper login\n")
        assert at_rest(after) is None
        await after.login()
        await whole(after)


async def test_lock_and_unlock(kept: Running, service: SecretService) -> None:
    await kept.control("lock")
    assert (await kept.aws()).stderr.endswith(b"run: juniper unlock\n")
    service.lock()
    assert (await kept.control("unlock")).stderr.startswith(b"juniper: the keyring is locked; ")
    service.kill()
    service.start()
    assert (await kept.control("unlock")).status == 0
    assert (await kept.aws()).status == 0
    await whole(kept)
