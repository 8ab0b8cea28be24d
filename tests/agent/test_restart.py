"""A sign-in that rests in the keyring goes on after a restart; a keyring that is locked is not a sign-out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keyring.errors import KeyringLocked

from juniperd.config import Config, IssuerEntry

from .doubles import Doubles
from .harness import config_for, serving
from .vault import FakeVault


async def test_a_restarted_agent_goes_on_without_a_login(world: Doubles, folder: Path) -> None:
    vault = FakeVault()
    async with serving(world, folder, vault=vault) as before:
        await before.login()
    async with serving(world, folder, vault=vault) as after:
        status: Any = (await after.control("status")).events[-1]
        assert status["sign_in"]["state"] == "signed-in"
        assert world.idp.spent == set(), "status asks nobody outside"
        assert (await after.aws()).status == 0
        who: Any = (await after.control("whoami")).events[-1]
        assert (who["person"], who["user"]) == ("developer", {"id": "7", "login": "developer"})
        assert who["ends_at"] == "2027-01-15T20:00:00Z"
    assert world.idp.calls["/device"] == 1
    assert world.idp.spent == {"refresh-1"}


async def test_after_a_logout_nothing_rests(world: Doubles, folder: Path) -> None:
    vault = FakeVault()
    async with serving(world, folder, vault=vault) as running:
        await running.login()
        assert vault.entries
        await running.control("logout")
        assert vault.entries == {}


async def test_a_locked_keyring_is_named_with_its_cure_and_left_alone_for_a_while(world: Doubles, folder: Path) -> None:
    vault = FakeVault()
    async with serving(world, folder, vault=vault) as before:
        await before.login()
    vault.fails = KeyringLocked("locked")
    async with serving(world, folder, vault=vault) as after:
        answer = await after.aws()
        assert answer.stderr.startswith(b"juniper-aws: the keyring is locked; unlock your keyring and try again")
        status: Any = (await after.control("status")).events[-1]
        assert status["sign_in"]["state"] == "keyring-locked"
        vault.fails = None
        assert (await after.aws()).status != 0
        world.clock.now += 30
        assert (await after.aws()).status == 0


async def test_a_key_that_cannot_be_read_is_no_sign_in(world: Doubles, folder: Path) -> None:
    vault = FakeVault()
    entry = '{"version": 1, "provider": "okta", "refresh_token": "r", "key": "not a key"}'
    vault.entries["juniper", world.issuer.url] = entry
    async with serving(world, folder, vault=vault) as running:
        assert (await running.aws()).stderr == b"juniper-aws: nobody is signed in; run: juniper login\n"
    assert vault.entries == {}


async def test_two_issuers_have_a_sign_in_each(world: Doubles, folder: Path) -> None:
    urls = {"team": world.issuer.url, "other": "http://127.0.0.1:1"}
    both = {name: IssuerEntry(name, url, world.idp.url) for name, url in urls.items()}
    config = config_for(world, folder)
    two = Config(config.path, both, config.network, store="memory", sandbox=True)
    async with serving(world, folder, config=two) as running:
        answer = await running.aws()
        assert answer.stderr.startswith(b"juniper-aws: several issuers are configured: team, other; name one")
        assert (await running.control("login")).status == 78
        assert (await running.control("login", issuer="team")).status == 0
        assert (await running.aws("team/archive")).status == 0
        assert (await running.aws("other/archive")).status == 77
        status: Any = (await running.control("status")).events[-1]
        assert [entry["state"] for entry in status["sign_ins"]] == ["signed-in", "signed-out"]


async def test_a_provider_that_says_something_else_than_no(world: Doubles, folder: Path) -> None:
    async with serving(world, folder) as running:
        await running.login()
        world.clock.now += 300
        world.idp.fault["/token"] = (400, {"error": "invalid_client"})
        answer = await running.aws()
        host = world.idp.url.partition("://")[2].encode()
        assert answer.stderr == (
            b"juniper-aws: Test sign-in (%b) does not renew the sign-in (invalid_client); ask whoever runs the issuer\n"
            % host
        )
        del world.idp.fault["/token"]
        world.clock.now += 5
        assert (await running.aws()).status == 0, "the sign-in was kept"


async def test_a_dead_sign_in_is_not_in_the_way_of_a_new_one(world: Doubles, folder: Path) -> None:
    async with serving(world, folder) as running:
        await running.login()
        world.clock.now += 300
        world.idp.refresh_tokens.clear()
        await running.login()
        assert (await running.aws()).status == 0


async def test_a_provider_without_device_flow_or_revocation(world: Doubles, folder: Path) -> None:
    document = {
        "issuer": world.idp.url,
        "jwks_uri": world.idp.url + "/jwks",
        "token_endpoint": world.idp.url + "/token",
    }
    world.idp.fault["/.well-known/openid-configuration"] = (200, document)
    async with serving(world, folder) as running:
        answer = await running.control("login")
        assert answer.stderr.startswith(b"juniper: Test sign-in has no device flow; ask whoever runs the issuer")
        assert (await running.control("login", flow="browser")).stderr.endswith(b"run: juniper login --device\n")


async def test_no_issuer_and_no_provider_in_reach(world: Doubles, folder: Path) -> None:
    async with serving(world, folder) as running:
        for server in world.servers:
            await server.close()
        answer = await running.control("login")
        assert answer.status == 69
        assert answer.stderr.endswith(b"check your VPN, then try again\n")
