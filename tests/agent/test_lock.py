"""Lock and unlock: a locked agent holds nothing and says at once what unlocks it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from keyring.errors import KeyringLocked

from juniperd.held import HeldSignIn
from juniperd.signin import SignIn
from juniperd.store import StoredSignIn

from .doubles import Doubles
from .harness import Running, serving, until
from .vault import FakeVault

LOCKED = b"juniper-aws: the sign-in is locked; run: juniper unlock\n"


@pytest.fixture
def vault() -> FakeVault:
    return FakeVault()


@pytest.fixture
async def kept(world: Doubles, folder: Path, vault: FakeVault) -> AsyncIterator[Running]:
    """An agent whose sign-in rests in a keyring."""
    async with serving(world, folder, vault=vault) as made:
        await made.login()
        yield made


def sign_in(running: Running) -> SignIn:
    found = running.agent.desks["team"].sign_in
    assert isinstance(found, SignIn)
    return found


def in_memory(running: Running) -> list[object]:
    """Sign-ins of this agent that anything still refers to."""
    gc.collect()
    url = running.world.issuer.url
    rests = [o for o in gc.get_objects() if type(o) is StoredSignIn and o.issuer == url]
    return rests + [o for o in gc.get_objects() if type(o) is HeldSignIn]


async def test_a_locked_agent_says_so_at_once_and_holds_nothing(kept: Running) -> None:
    await kept.aws()
    assert in_memory(kept)
    answer = await kept.control("lock")
    assert answer.events[-1] == {"event": "result", "issuers": {"team": True}}
    assert in_memory(kept) == []
    calls = kept.world.idp.calls["/token"], kept.world.sts.calls["/"]
    said = await asyncio.wait_for(kept.aws(), 1.0)
    assert (said.status, said.stdout, said.stderr) == (77, b"", LOCKED)
    status: Any = (await kept.control("status")).events[-1]
    assert (status["leases"], status["sign_in"]["state"]) == ([], "locked")
    for verb in ("whoami", "catalogue"):
        assert (await kept.control(verb)).stderr == b"juniper: the sign-in is locked; run: juniper unlock\n"
    assert (kept.world.idp.calls["/token"], kept.world.sts.calls["/"]) == calls


async def test_unlocked_it_goes_on_with_what_the_keyring_has(kept: Running) -> None:
    key = sign_in(kept).identity
    await kept.control("lock")
    assert (await kept.control("unlock")).events[-1]["issuers"] == ["team"]
    assert sign_in(kept).identity == key
    assert (await kept.aws()).status == 0
    assert kept.world.idp.calls["/device"] == 1


async def test_in_memory_only_unlocking_takes_a_new_sign_in_which_goes_on_with_the_key(running: Running) -> None:
    running.world.issuer.one_pin = True
    await running.login()
    key = sign_in(running).identity
    assert (await running.control("lock")).events[-1]["issuers"] == {"team": False}
    assert in_memory(running) == []
    assert (await running.aws()).stderr == LOCKED
    assert (await running.control("unlock")).stderr == b"juniper: nobody is signed in; run: juniper login\n"
    assert (await running.aws()).stderr == b"juniper-aws: nobody is signed in; run: juniper login\n"
    await running.login()
    assert sign_in(running).identity == key


async def test_a_new_sign_in_unlocks(kept: Running) -> None:
    await kept.control("lock")
    await kept.login()
    assert (await kept.aws()).status == 0


async def test_a_keyring_that_stays_shut_leaves_it_locked(kept: Running, vault: FakeVault) -> None:
    await kept.control("lock")
    vault.fails = KeyringLocked("locked")
    assert (await kept.control("unlock")).stderr.startswith(b"juniper: the keyring is locked; unlock your keyring")
    assert (await kept.aws()).stderr == LOCKED
    vault.fails = None
    assert (await kept.control("unlock")).status == 0
    assert (await kept.aws()).status == 0


async def test_what_only_memory_had_is_said_to_be_lost(kept: Running, vault: FakeVault) -> None:
    vault.fails = KeyringLocked("locked")
    kept.world.clock.now += 300
    await sign_in(kept).subject()
    assert (await kept.control("lock")).events[-1]["issuers"] == {"team": False}


async def test_a_refresh_under_way_lands_in_the_keyring_and_serves_nobody(kept: Running, vault: FakeVault) -> None:
    kept.world.clock.now += 300
    vault.blocks = threading.Event()
    asking = asyncio.create_task(sign_in(kept).subject(fresh=True))
    await asyncio.sleep(0)
    locking = asyncio.create_task(kept.control("lock"))
    await until(lambda: sign_in(kept).identity is None)
    assert (await asyncio.wait_for(kept.aws(), 1.0)).stderr == LOCKED
    vault.blocks.set()
    assert (await locking).events[-1]["issuers"] == {"team": True}
    assert [str(error) for error in await asyncio.gather(asking, return_exceptions=True)] == [
        "the sign-in is locked; run: juniper unlock"
    ]
    assert "refresh-2" in next(iter(vault.entries.values()))
    assert in_memory(kept) == []


async def test_a_look_into_the_keyring_under_way_brings_nothing_back(
    world: Doubles, folder: Path, vault: FakeVault
) -> None:
    async with serving(world, folder, vault=vault) as before:
        await before.login()
    del before
    vault.blocks = threading.Event()
    async with serving(world, folder, vault=vault) as after:
        asking = asyncio.create_task(after.aws())
        await until(lambda: "load" in sign_in(after)._keeper._flights)
        await after.control("lock")
        vault.blocks.set()
        assert (await asking).status == 77
        await until(lambda: not sign_in(after)._keeper._flights)
        assert in_memory(after) == []
        assert (await after.aws()).stderr == LOCKED


async def test_a_login_under_way_ends(kept: Running) -> None:
    kept.world.idp.approve = "authorization_pending"
    asking = asyncio.create_task(kept.control("login"))
    await until(lambda: kept.world.idp.calls["/device"] == 2)
    await kept.control("lock")
    assert (await asking).stderr == b"juniper: the sign-in was cut off; run: juniper login\n"


async def test_logout_of_a_locked_one_frees_everything(kept: Running, vault: FakeVault) -> None:
    await kept.control("lock")
    assert (await kept.control("logout")).events[-1]["notes"] == []
    assert (kept.world.issuer.pins, vault.entries) == (set(), {})
    assert (await kept.aws()).stderr == b"juniper-aws: nobody is signed in; run: juniper login\n"


async def test_nobody_signed_in_can_be_locked_too(running: Running) -> None:
    assert (await running.control("lock")).events[-1]["issuers"] == {"team": True}
    assert (await running.aws()).stderr == LOCKED
    assert (await running.control("unlock")).status == 77
