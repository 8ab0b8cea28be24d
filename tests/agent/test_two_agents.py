"""Two agents of one person before one keyring: a shell without ``XDG_RUNTIME_DIR`` finds another socket, starts another."""

from __future__ import annotations

import asyncio
import fcntl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from keyring.errors import KeyringLocked

from juniperd.errors import LoginExpired, UpstreamUnreachable
from juniperd.signin import SignIn

from .doubles import Doubles
from .harness import Running, serving
from .vault import FakeVault


@pytest.fixture
def other_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="juniper-") as name:
        yield Path(name)


@pytest.fixture
def vault(tmp_path: Path) -> FakeVault:
    return FakeVault(tmp_path / "state" / "sign-in.lock")


@pytest.fixture
async def one(world: Doubles, folder: Path, vault: FakeVault) -> AsyncIterator[Running]:
    async with serving(world, folder, vault=vault) as made:
        yield made


@pytest.fixture
async def two(world: Doubles, other_folder: Path, vault: FakeVault) -> AsyncIterator[Running]:
    async with serving(world, other_folder, vault=vault) as made:
        yield made


def sign_in(running: Running) -> SignIn:
    return running.agent.desks["team"].sign_in


async def test_they_do_not_end_each_others_sign_in(one: Running, two: Running) -> None:
    await one.login()
    assert (await two.aws()).status == 0
    for first, second in ((one, two), (two, one), (one, two)):
        one.world.clock.now += 300
        assert (await first.control("catalogue")).status == 0
        one.world.clock.now += 300
        assert (await second.control("catalogue")).status == 0


async def test_they_renew_in_turn(one: Running, two: Running) -> None:
    await one.login()
    await two.aws()
    for _ in range(5):
        one.world.clock.now += 300
        answers = await asyncio.gather(*(agent.control("catalogue") for agent in (one, two) for _ in range(3)))
        assert {answer.status for answer in answers} == {0}


@pytest.mark.parametrize("turns", ["nowhere", "below-a-file"])
async def test_without_a_lock_the_second_one_looks_again_before_it_gives_up(
    one: Running, two: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: str
) -> None:
    (tmp_path / "file").touch()
    for agent in (one, two):
        agent.agent.store._turns = None if turns == "nowhere" else tmp_path / "file" / "sign-in.lock"
    await one.login()
    await two.aws()
    one.world.clock.now += 300
    idp = sign_in(two)._idp
    refresh = idp.refresh

    async def overtaken(*_arguments: object, **_options: object) -> object:
        monkeypatch.setattr(idp, "refresh", refresh)
        await sign_in(one).subject()
        msg = "Test sign-in ended the sign-in (invalid_grant)"
        raise LoginExpired(msg)

    monkeypatch.setattr(idp, "refresh", overtaken)
    await sign_in(two).subject()
    await sign_in(one).subject(fresh=True)


async def test_a_login_at_one_is_the_others_too(one: Running, two: Running) -> None:
    await one.login()
    await two.aws()
    first = sign_in(one).identity
    await two.login()
    assert sign_in(two).identity != first
    assert one.world.issuer.pins == {sign_in(two).identity}
    one.world.clock.now += 300
    await sign_in(one).subject()
    assert sign_in(one).identity == sign_in(two).identity
    assert (await one.aws()).status == 0


async def test_who_found_nobody_signed_in_looks_again(one: Running, two: Running) -> None:
    assert (await two.aws()).status == 77
    await one.login()
    assert (await two.aws()).status == 77
    one.world.clock.now += 30
    assert (await two.aws()).status == 0


async def test_a_logout_at_one_ends_it_at_the_other(one: Running, two: Running) -> None:
    await one.login()
    await two.aws()
    await one.control("logout")
    one.world.clock.now += 300
    with pytest.raises(LoginExpired, match="taken out of the keyring"):
        await sign_in(two).subject()
    assert one.world.idp.spent == {"refresh-1"}, "nothing was tried with what the other one revoked"


async def test_a_logout_revokes_what_the_other_renewed(one: Running, two: Running, vault: FakeVault) -> None:
    await one.login()
    await sign_in(two).subject()
    assert one.world.idp.spent == {"refresh-1"}
    await one.control("logout")
    assert one.world.idp.revoked == ["refresh-2"]
    assert vault.entries == {}


async def test_an_end_here_leaves_another_sign_in_of_the_keyring(one: Running, two: Running, vault: FakeVault) -> None:
    await one.login()
    await two.login()
    await one.agent.store.delete(one.world.issuer.url)
    assert vault.entries
    await two.agent.store.delete(one.world.issuer.url)
    assert vault.entries == {}


async def test_what_the_keyring_did_not_take_is_not_undone_by_what_lies_there(one: Running, vault: FakeVault) -> None:
    await one.login()
    one.world.clock.now += 300
    vault.fails = KeyringLocked("locked")
    await sign_in(one).subject()
    vault.fails = None
    one.world.clock.now += 300
    await sign_in(one).subject()
    assert one.world.idp.spent == {"refresh-1", "refresh-2"}
    assert "refresh-3" in next(iter(vault.entries.values()))


async def test_an_entry_that_cannot_be_read_is_not_taken_over(one: Running, vault: FakeVault) -> None:
    await one.login()
    vault.entries["juniper", one.world.issuer.url] = "not ours"
    one.world.clock.now += 300
    await sign_in(one).subject()
    assert one.world.idp.spent == {"refresh-1"}


async def test_one_that_is_stuck_holds_the_other_up_for_a_while_only(
    one: Running, vault: FakeVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("juniperd.store.TURN_TIME", 0.05)
    monkeypatch.setattr("juniperd.store.TURN_PACE", 0.01)
    await one.login()
    assert vault.turns is not None
    with vault.turns.open("r+") as stuck:
        fcntl.flock(stuck, fcntl.LOCK_EX)
        one.world.clock.now += 300
        await sign_in(one).subject()
        one.world.clock.now += 300
        with pytest.raises(UpstreamUnreachable, match="another agent of yours"):
            await sign_in(one).subject()
    await sign_in(one).subject()


async def test_a_link_in_place_of_the_lock_is_not_followed(one: Running, vault: FakeVault, tmp_path: Path) -> None:
    assert vault.turns is not None
    vault.turns.parent.mkdir()
    vault.turns.symlink_to(tmp_path / "elsewhere")
    await one.login()
    assert not (tmp_path / "elsewhere").exists()


async def test_a_caller_that_leaves_while_it_waits_gives_its_turn_back(one: Running, vault: FakeVault) -> None:
    await one.login()
    assert vault.turns is not None
    with vault.turns.open("r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        turn = asyncio.create_task(one.agent.store.turn().__aenter__())
        await asyncio.sleep(0)
        turn.cancel()
        with suppress(asyncio.CancelledError):
            await turn
    async with one.agent.store.turn():
        pass
