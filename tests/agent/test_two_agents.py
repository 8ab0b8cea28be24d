"""Two agents of one person before one keyring: a shell without ``XDG_RUNTIME_DIR`` finds another socket, starts another."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from keyring.errors import KeyringLocked, NoKeyringError

from juniperd.errors import LoginExpired, UpstreamUnreachable
from juniperd.model import Secret
from juniperd.signin import SignIn
from juniperd.turns import Turns

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
    found = running.agent.desks["team"].sign_in
    assert isinstance(found, SignIn)
    return found


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
        agent.agent.store._turns = Turns(None if turns == "nowhere" else tmp_path / "file" / "sign-in.lock")
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


async def refused(running: Running) -> str:
    """What an agent says whose ID token is too old to go on with."""
    with pytest.raises(UpstreamUnreachable) as caught:
        await sign_in(running).subject()
    return str(caught.value)


async def test_one_whose_keyring_took_nothing_is_not_overtaken(one: Running, two: Running, vault: FakeVault) -> None:
    """What lies there is a token that the other agent has spent: to try it would end the sign-in for both."""
    await one.login()
    await two.aws()
    vault.fails = KeyringLocked("locked")
    one.world.clock.now += 600
    said = await refused(one)
    assert "another agent of yours has renewed the sign-in, and the keyring cannot be read" in said
    assert said.endswith("; unlock your keyring and try again, or run: juniper login")
    await sign_in(two).subject()
    vault.fails = None
    assert "and the keyring did not take it" in await refused(one)
    one.world.clock.now += 600
    await sign_in(two).subject()
    await sign_in(one).subject()
    assert one.world.idp.spent == {"refresh-1", "refresh-2", "refresh-3", "refresh-4"}


async def test_what_an_agent_took_with_it_is_missed_once_and_named(
    world: Doubles, one: Running, other_folder: Path, vault: FakeVault
) -> None:
    await one.login()
    async with serving(world, other_folder, vault=vault) as ahead:
        vault.fails = None
        await ahead.aws()
        vault.fails = KeyringLocked("locked")
        await sign_in(ahead).subject(fresh=True)
        vault.fails = None
        world.clock.now += 600
        assert "another agent of yours has renewed" in await refused(one)
    tokens = world.idp.calls["/token"]
    for _ in range(3):
        with pytest.raises(LoginExpired, match=r"^the answer to a renewal was lost, and then Test sign-in ended"):
            await sign_in(one).subject()
    assert world.idp.calls["/token"] == tokens + 1
    assert vault.entries == {}


async def test_one_without_a_keyring_has_a_sign_in_of_its_own(
    world: Doubles, one: Running, other_folder: Path, vault: FakeVault
) -> None:
    """As over ssh, where no D-Bus is: neither is in the other's way."""
    await one.login()
    apart = FakeVault(vault.turns)
    apart.fails = NoKeyringError()
    async with serving(world, other_folder, vault=apart) as remote:
        await remote.login()
        for _ in range(3):
            world.clock.now += 300
            for agent in (one, remote):
                await sign_in(agent).subject()
        await one.login()
        world.clock.now += 300
        await sign_in(remote).subject()


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b"\xff" * 100, b'{"x": 7}'])
async def test_notes_that_cannot_be_read_are_no_notes(one: Running, vault: FakeVault, left: bytes) -> None:
    await one.login()
    assert vault.turns is not None
    vault.turns.write_bytes(left)
    one.world.clock.now += 300
    await sign_in(one).subject()
    notes = vault.turns.read_text()
    assert hashlib.sha256(b"refresh-2").hexdigest() in notes
    assert "refresh-2" not in notes


async def test_an_entry_that_cannot_be_read_is_not_taken_over(one: Running, vault: FakeVault) -> None:
    await one.login()
    vault.entries["juniper", one.world.issuer.url] = "not ours"
    one.world.clock.now += 300
    await sign_in(one).subject()
    assert one.world.idp.spent == {"refresh-1"}


async def test_one_that_is_stuck_holds_the_other_up_for_a_while_only(
    one: Running, vault: FakeVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("juniperd.turns.TURN_TIME", 0.05)
    monkeypatch.setattr("juniperd.turns.TURN_PACE", 0.01)
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


@pytest.mark.parametrize("text", ["[" * 9000, "{", "[]", '{"DIGEST": ["x"]}', '{"DIGEST": {}}', "\\xff"])
async def test_a_damaged_note_of_the_newest_token_is_none(tmp_path: Path, text: str) -> None:
    key, token = Secret("key"), Secret("token")
    path = tmp_path / "sign-in.lock"
    path.write_text(text.replace("DIGEST", hashlib.sha256(b"key").hexdigest()))
    turns = Turns(path)
    assert await turns.is_newest(key, token)
    await turns.note(key, token)
    assert not await turns.is_newest(key, Secret("another"))
