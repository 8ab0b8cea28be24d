"""Docker and Git before a whole agent: whose host it is, one token for many, what is rejected, and what is given back."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from juniperd.catalogue import Catalogue
from juniperd.config import Hosts
from juniperd.issuer_client import MOST_MEANINGS
from juniperd.model import CredentialRequest, Lease

from .doubles import Doubles, FakeClock
from .harness import Running, Spoken, config_for, serving, speak, until

REGISTRY, GITLAB = "registry.example.com", "gitlab.example.com"
NOT_FOUND = b"credentials not found in native keychain\n"
CODE = f"protocol=https\nhost={GITLAB}\npath=shop/billing.git\n".encode()


def row(name: str, kind: str, host: str, project: str = "shop/billing") -> dict[str, object]:
    target = {"relying_party": f"at-{kind}", "kind": kind, "host": host, "provider": "gitlab"}
    return {
        "name": name,
        "held": True,
        "reason": None,
        "project": project,
        "activation": "sign-in",
        "targets": [target],
    }


@pytest.fixture
async def shop(world: Doubles, tmp_path: Path) -> AsyncIterator[Running]:
    """An agent whose issuer stands for a registry and a GitLab."""
    world.issuer.rows = [row("image-reader", "registry", REGISTRY), row("code-reader", "git", GITLAB)]
    config = config_for(world, tmp_path)
    entry = replace(config.issuers["team"], hosts=Hosts({REGISTRY: "shop/billing"}, frozenset({GITLAB})))
    async with serving(world, tmp_path, config=replace(config, issuers={"team": entry})) as running:
        yield running


async def docker(running: Running, server: str = REGISTRY, **variables: str) -> Spoken:
    return await speak(running.path, "docker-credential-juniper", "get", stdin=server.encode(), **variables)


async def git(running: Running, action: str = "get", said: bytes = CODE) -> Spoken:
    return await speak(running.path, "git-credential-juniper", action, stdin=said)


async def secret_of(running: Running, server: str = REGISTRY) -> str:
    answer = await docker(running, server)
    assert answer.status == 0, answer
    return str(json.loads(answer.stdout)["Secret"])


def password_of(answer: Spoken) -> str:
    assert answer.status == 0, answer
    return dict(line.split("=", 1) for line in answer.stdout.decode().splitlines())["password"]


def leases(running: Running) -> list[Lease]:
    return [held.lease for held in running.agent.broker.held()]


async def test_a_hundred_cold_pulls_are_one_token(shop: Running) -> None:
    await shop.login()
    spellings = [REGISTRY, f"https://{REGISTRY}/v2/", f"{REGISTRY}/shop/billing/api", f"{REGISTRY.upper()}:443"]
    answers = await asyncio.gather(*(docker(shop, spellings[n % 4]) for n in range(100)))
    assert {answer.status for answer in answers} == {0}
    said = [json.loads(answer.stdout) for answer in answers]
    assert {one["Secret"] for one in said} == set(shop.world.issuer.minted)
    assert {one["ServerURL"] for one in said} == set(spellings)
    assert {one["Username"] for one in said} == {"juniper-7-developer"}
    assert shop.world.issuer.calls["/token"] == 1


async def test_a_host_of_somebody_else_s_is_not_found_whoever_is_signed_in(shop: Running) -> None:
    for host in ("ghcr.io", f"http://{REGISTRY}", f"{REGISTRY}:5000", "https://index.docker.io/v1/"):
        assert await docker(shop, host) == Spoken(NOT_FOUND, b"", 1)
    assert await git(shop, said=b"protocol=https\nhost=github.com\npath=a/b\n") == Spoken(b"", b"", 0)
    assert not shop.world.issuer.calls
    assert (await docker(shop)).stdout == b"nobody is signed in; run: juniper login\n"


async def test_quiet_says_not_found_and_tells_the_person(shop: Running) -> None:
    answer = await docker(shop, JUNIPER_QUIET="1")
    assert answer == Spoken(NOT_FOUND, b"docker-credential-juniper: nobody is signed in; run: juniper login\n", 1)


async def test_a_project_that_no_scope_reaches_is_one_line(shop: Running) -> None:
    await shop.login()
    answer = await docker(shop, f"{REGISTRY}/shop/tax/api")
    assert answer.stdout.startswith(f"no scope of yours reaches {REGISTRY}/shop/tax/api; ".encode())
    assert (answer.status, answer.stderr, answer.stdout.count(b"\n")) == (1, b"", 1)
    other = await git(shop, said=f"protocol=https\nhost={GITLAB}\npath=shop/tax.git\n".encode())
    assert (other.stdout, other.status) == (b"", 1)
    assert other.stderr.startswith(f"git-credential-juniper: no scope of yours reaches {GITLAB}/shop/tax".encode())
    assert shop.world.issuer.calls["/token"] == 0


@pytest.mark.parametrize("junk", [b"", b"\n", b"x" * 65536, b"a.example.com\nb.example.com", b"\xff\xfe\x00", b"h/.."])
async def test_junk_is_answered_as_the_contract_says_and_mints_nothing(shop: Running, junk: bytes) -> None:
    await shop.login()
    answer = await speak(shop.path, "docker-credential-juniper", "get", stdin=junk)
    expected = NOT_FOUND if junk.strip() else b"no credentials server URL\n"
    assert answer == Spoken(expected, b"", 1)
    assert shop.world.issuer.calls["/token"] == 0


async def test_input_without_end_is_refused_in_the_tool_s_own_way(shop: Running) -> None:
    answer = await speak(shop.path, "docker-credential-juniper", "get", stdin=b"x" * 200_000)
    assert answer == Spoken(b"the input is longer than 131072 bytes; send less\n", b"", 1)


async def test_an_expired_login_is_never_shown_again(shop: Running, clock: FakeClock) -> None:
    await shop.login()
    first = await secret_of(shop)
    clock.now += 3600 - 59
    shop.world.issuer.fault["/token"] = (503, {"error": "temporarily_unavailable", "error_description": "down"})
    answer = await docker(shop)
    assert answer.status == 1
    assert b"the issuer cannot answer now" in answer.stdout
    del shop.world.issuer.fault["/token"]
    clock.now += 6
    assert await secret_of(shop) != first


async def test_with_ten_minutes_left_the_caller_waits_for_a_new_one(shop: Running, clock: FakeClock) -> None:
    """A pull asks its realm for hours with what it began with, so a login that is nearly over is no help."""
    await shop.login()
    first = await secret_of(shop)
    clock.now += 3600 - 590
    assert await secret_of(shop) != first


async def test_git_s_erase_drops_what_was_shown_and_the_next_one_is_new(shop: Running) -> None:
    await shop.login()
    first = password_of(await git(shop))
    said = CODE + f"username=juniper-7-developer\npassword={first}\n".encode()
    assert await git(shop, "erase", said) == Spoken(b"", b"", 0)
    assert shop.world.issuer.ended == [first]
    second = password_of(await git(shop))
    assert second != first
    assert await git(shop, "erase", said) == Spoken(b"", b"", 0)
    assert password_of(await git(shop)) == second, "an old one's end is no word about the new one"


async def test_a_new_one_that_is_turned_down_too_is_the_last_for_a_while(shop: Running, clock: FakeClock) -> None:
    await shop.login()
    for _ in range(2):
        pair = f"juniper-7-developer:{password_of(await git(shop))}".encode()
        shown = f"authtype=Basic\ncredential={base64.b64encode(pair).decode()}\n".encode()
        await git(shop, "erase", CODE + shown)
    for _ in range(5):
        answer = await git(shop)
        assert answer.stdout == b"quit=1\n"
        assert b"turns down what it was given for scope 'code-reader', twice in a row" in answer.stderr
    assert shop.world.issuer.calls["/token"] == 2
    assert shop.world.issuer.minted == {}
    clock.now += 150
    assert password_of(await git(shop))


async def test_another_host_in_the_issuer_s_answer_is_not_shown(shop: Running) -> None:
    await shop.login()
    shop.world.issuer.target = {"host": "evil.example.com"}
    answer = await docker(shop)
    assert answer.status == 1
    assert answer.stdout.startswith(b"scope 'image-reader' is for evil.example.com, not for registry.example.com")


@pytest.mark.parametrize("verb", ["lock", "logout", "down"])
async def test_what_nobody_serves_any_more_is_given_back(shop: Running, verb: str) -> None:
    await shop.login()
    shown = {await secret_of(shop), password_of(await git(shop))}
    assert (await shop.control(verb)).status == 0
    await until(lambda: set(shop.world.issuer.ended) == shown)
    assert not shop.world.issuer.minted


async def test_an_issuer_that_cannot_be_told_keeps_nobody_waiting(shop: Running) -> None:
    await shop.login()
    await secret_of(shop)
    shop.world.issuer.fault["/revoke"] = (503, {})
    assert (await shop.control("down")).status == 0


async def test_hosts_that_set_up_has_just_written_count_at_once(shop: Running, tmp_path: Path) -> None:
    await shop.login()
    world = shop.world
    world.issuer.rows.append(row("tax-images", "registry", "tax.example.com", "shop/tax"))
    text = f'version = 1\nsandbox = true\n[issuer.team]\nurl = "{world.issuer.url}"\nidp = "{world.idp.url}"\n'
    (tmp_path / "juniper.toml").write_text(text + '[issuer.team.registry."tax.example.com"]\nproject = "shop/tax"\n')
    assert await docker(shop, "tax.example.com") == Spoken(NOT_FOUND, b"", 1)
    assert (await shop.control("hosts")).events[-1]["hosts"] == {"team": ["tax.example.com"]}
    await shop.control("catalogue")
    assert await secret_of(shop, "tax.example.com") in world.issuer.minted
    assert await git(shop, said=f"protocol=https\nhost={GITLAB}\npath=shop/billing\n".encode())


async def test_a_broken_configuration_leaves_the_hosts_as_they_were(shop: Running, tmp_path: Path) -> None:
    (tmp_path / "juniper.toml").write_text("version = 1\n[issuer")
    assert (await shop.control("hosts")).status == 78
    await shop.login()
    assert await secret_of(shop)


@pytest.mark.parametrize(
    "changes",
    [
        {"issued_token_type": "urn:ietf:params:oauth:token-type:jwt"},
        {"access_token": "short"},
        {"access_token": "x" * 2048},
        {"access_token": "with a blank"},
        {"target": {"username": "", "kind": "registry", "relying_party": "at-registry", "host": REGISTRY}},
        {"target": {"username": "u", "kind": "registry", "relying_party": "at-registry", "host": ""}},
    ],
)
async def test_an_answer_that_is_no_deploy_token_is_not_passed_on(
    shop: Running, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    await shop.login()
    made = type(shop.world.issuer)._deploy_token
    monkeypatch.setattr(type(shop.world.issuer), "_deploy_token", lambda *a: made(*a) | changes)
    answer = await docker(shop)
    assert answer.status == 1
    assert answer.stdout.count(b"\n") == 1
    assert leases(shop) == []


async def test_what_a_name_means_is_worked_out_once_for_a_catalogue(
    shop: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warm call does not look through everything that a person may hold."""
    await shop.login()
    await secret_of(shop)
    asked: list[str] = []
    meant = Catalogue.meant

    def counted(catalogue: Catalogue, request: CredentialRequest, hosts: Hosts) -> list[str]:
        asked.append(request.host)
        return meant(catalogue, request, hosts)

    monkeypatch.setattr(Catalogue, "meant", counted)
    first = await secret_of(shop)
    assert [await secret_of(shop) for _ in range(5)] == [first] * 5
    assert asked == [], "it was worked out when it was first asked for"
    await shop.control("catalogue")
    assert [await secret_of(shop) for _ in range(3)] == [first] * 3
    assert asked == [REGISTRY], "once for each catalogue"
    issuer = shop.agent.desks["team"].issuer
    issuer.hosts = Hosts({REGISTRY: "shop/tax"}, issuer.hosts.git)
    answer = await docker(shop)
    assert answer.stdout.startswith(b"no scope of yours reaches shop/tax at registry.example.com; ")


async def test_what_is_remembered_of_names_has_an_end(shop: Running) -> None:
    await shop.login()
    for number in range(MOST_MEANINGS + 20):
        await docker(shop, f"{REGISTRY}/shop/billing/image-{number}")
    assert len(shop.agent.desks["team"].issuer._meanings[2]) <= MOST_MEANINGS
