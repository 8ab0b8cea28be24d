"""Issuer, identity provider and relying parties: real servers, and what each says wrong."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from juniperd.doctor import clock, servers, targets
from juniperd.doctor.finding import Finding
from juniperd.errors import ProtocolError, RelyingPartyRefused, UpstreamUnreachable
from juniperd.http import Http
from juniperd.sandbox.tls import certificates

from .laptops import answers, laptop, lines, look, row
from .reviews import reviews

IDENTITY = {
    "name": "company",
    "kind": "oidc",
    "client_id": "juniper",
    "device_client_id": "juniper-device",
    "scopes": ["openid"],
    "flow": "device",
    "display_name": "Company",
}


@asynccontextmanager
async def serving(
    *, device: bool = True, oldest: str = "0.1.0", identity: dict[str, Any] | None = None, date: float = 0.0
) -> AsyncIterator[str]:
    """Issuer and identity provider at one address; ``date`` is how far the server's clock is ahead."""

    async def discovery(request: web.Request) -> web.Response:
        url = str(request.url.origin())
        said = {"issuer": url, "jwks_uri": f"{url}/jwks"}
        if device:
            said["device_authorization_endpoint"] = f"{url}/device"
        return web.json_response(said, headers={"Date": formatdate(time.time() + date, usegmt=True)})

    async def jwks(_request: web.Request) -> web.Response:
        return web.json_response({"keys": []}, headers={"Cache-Control": "max-age=300"})

    async def juniper(request: web.Request) -> web.Response:
        url = str(request.url.origin())
        found = {**IDENTITY, "issuer": url, **(identity or {})}
        return web.json_response(
            {"version": 1, "issuer": url, "api_url": url, "oldest_agent": oldest, "identities": [found]}
        )

    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", discovery)
    app.router.add_get("/.well-known/juniper", juniper)
    app.router.add_get("/jwks", jwks)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_servers_that_are_well(tmp_path: Path) -> None:
    async with serving() as url:
        found = await look(servers.issuers, laptop(tmp_path, url=url))
        found += await look(servers.providers, laptop(tmp_path, url=url))
    assert [one.level for one in found] == ["ok"] * len(found)
    assert "issuer team: serves agents from 0.1.0 on" in str(found[3])


async def test_an_issuer_that_serves_newer_agents_alone_is_told(tmp_path: Path) -> None:
    async with serving(oldest="9.0.0") as url:
        (fix,) = lines(await look(servers.issuers, laptop(tmp_path, url=url)))
    assert fix.startswith("fix  issuer team: issuer 'team' asks for juniperd 9.0.0")
    assert fix.endswith("update juniperd")


async def test_an_issuer_that_is_down_is_one_line(tmp_path: Path) -> None:
    (only,) = await look(servers.issuers, laptop(tmp_path))
    assert str(only) == (
        "fix  issuer team: 127.0.0.1:1 cannot be reached; check network, VPN and [network] in juniper.toml"
    )
    (only,) = await look(servers.providers, laptop(tmp_path))
    assert only.check == "identity provider 127.0.0.1:1"


@pytest.mark.parametrize(
    ("flow", "level", "words"),
    [("device", "fix", "juniper login --browser"), ("browser", "note", "needs a browser on this machine")],
)
async def test_a_provider_without_device_flow_is_told(tmp_path: Path, flow: str, level: str, words: str) -> None:
    async with serving(device=False, identity={"flow": flow}) as url:
        found = await look(servers.providers, laptop(tmp_path, url=url))
    assert found[-1].level == level
    assert words in str(found[-1])


@pytest.mark.parametrize("kind", ["entra", "okta"])
async def test_what_no_metadata_tells_is_not_guessed(tmp_path: Path, kind: str) -> None:
    async with serving(identity={"kind": kind}) as url:
        (told,) = lines(await look(servers.providers, laptop(tmp_path, url=url)), "note")
    assert "cannot be known before a sign-in" in told


def test_a_provider_that_is_another_is_told() -> None:
    (found,) = servers.judged("idp", "https://a.example.com", {"issuer": "https://b.example.com"}, None)
    assert found.text == "calls itself https://b.example.com"


# --- certificates and clocks ------------------------------------------------------------------------------------------


async def test_a_certificate_s_end_is_read_from_the_server(tmp_path: Path) -> None:
    with reviews(tmp_path) as (url, ca):
        (tmp_path / "ca.pem").write_text(ca)
        async with Http(ca_file=tmp_path / "ca.pem") as http:
            ends_at = await http.certificate_ends(url)
        async with Http(proxy="http://127.0.0.1:1") as http:
            assert await http.certificate_ends("https://issuer.example.com") is None
        (tmp_path / "other.pem").write_bytes(certificates().ca)
        async with Http(ca_file=tmp_path / "other.pem") as stranger:
            with pytest.raises(Exception, match="not trusted"):
                await stranger.certificate_ends(url)
    assert ends_at is not None
    assert 29 * 86_400 < ends_at - time.time() < 31 * 86_400


def test_a_certificate_that_ends_soon_is_told() -> None:
    assert servers.certificate("team", 20 * 86_400).ok
    assert servers.certificate("team", 3 * 86_400).cure == "ask whoever runs the issuer to renew it"


@pytest.mark.parametrize("date", [90.0, -90.0])
async def test_a_server_s_clock_against_ours(tmp_path: Path, date: float) -> None:
    async with serving(date=date) as url:
        at = laptop(tmp_path, url=url)
        await look(servers.providers, at)
    (found,) = clock.checks(at)
    assert "this machine's clock is" in found.text
    assert "timedatectl" in found.cure
    async with serving() as url:
        at = laptop(tmp_path, url=url)
        await look(servers.providers, at)
    (found,) = clock.checks(at)
    assert found.ok


# --- targets ----------------------------------------------------------------------------------------------------------


def target(kind: str, party: str, **more: object) -> dict[str, object]:
    return {"kind": kind, "relying_party": party, **more}


async def of(tmp_path: Path, *rows: dict[str, object], probe: object) -> list[Finding]:
    return await look(targets.checks, laptop(tmp_path, answers(*rows, probe=probe)))


async def test_one_scope_is_tried_at_each_party_and_a_sleeping_one_is_not(tmp_path: Path) -> None:
    rows = (
        row("sleeper", target("aws", "aws-staging"), activation="session"),
        row("reader", target("aws", "aws-staging"), activation="sign-in"),
        row("deep", target("aws", "aws-other"), activation="session"),
        row("eks", target("kubernetes", "batch", eks="batch"), activation="sign-in"),
        row("api", target("api", "billing-api"), activation="sign-in"),
    )
    there = "whether it is taken there says juniper doctor kubectl"
    found = await of(tmp_path, *rows, probe={})
    assert [str(one) for one in found] == [
        "ok   target aws-staging: STS trades the scope's token for its role (reader)",
        "note target aws-other: deep is asleep, not tried; a debugging session wakes it",
        f"ok   target batch: the scope's role signs a token for it; {there} (eks)",
        "ok   target billing-api: the issuer signs a token for it (api)",
    ]


async def test_a_party_that_does_not_trust_the_issuer_is_told_by_its_own_words(tmp_path: Path) -> None:
    refused = RelyingPartyRefused("STS refuses the role", "compare it with: juniper issuer trust aws reader")
    (found,) = await of(tmp_path, row("reader", target("aws", "aws-staging")), probe=refused)
    assert (
        str(found) == "fix  target aws-staging: STS refuses the role; compare it with: juniper issuer trust aws reader"
    )


async def test_an_agent_that_knows_no_probe_says_what_to_do(tmp_path: Path) -> None:
    old = ProtocolError("this agent knows no 'probe'", "run: juniper down; juniper up")
    (found,) = await of(tmp_path, row("reader", target("aws", "aws-staging")), probe=old)
    assert found.cure == "run: juniper down; juniper up"


async def test_a_host_that_is_down_is_told_and_nothing_is_minted(tmp_path: Path) -> None:
    never = UpstreamUnreachable("asked for a login")
    rows = (
        row("images", target("registry", "images", host="127.0.0.1:1")),
        row("code", target("git", "code", host="127.0.0.1:1")),
    )
    found = await of(tmp_path, *rows, probe=never)
    assert [one.text for one in found] == ["127.0.0.1:1 cannot be reached"] * 2
