"""A real issuer, a wrong one, and a real clock set wrong."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from juniperd.doctor import issuer
from juniperd.doctor.finding import Finding
from juniperd.http import Http
from juniperd.issuer import keys
from tests.doctor.reviews import reviews


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with Http(plain_loopback=True) as client:
        yield client


async def look(http: Http, *, cache: str = "public, max-age=300", said: str = "", ahead: float = 0.0) -> list[Finding]:
    """What is found of an issuer that answers so, by a clock that is so far ahead."""

    async def discovery(request: web.Request) -> web.Response:
        url = str(request.url.origin())
        return web.json_response({"issuer": said or url, "jwks_uri": f"{url}/jwks"})

    async def jwks(_request: web.Request) -> web.Response:
        return web.json_response({"keys": []}, headers={"Cache-Control": cache})

    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", discovery)
    app.router.add_get("/jwks", jwks)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        return [f async for f in issuer.checks("team", url, http, clock=lambda: time.time() + ahead)]


def test_the_doctor_and_the_issuer_agree_about_new_keys() -> None:
    assert issuer.PUBLISHED_AHEAD == keys.PUBLISHED_AHEAD


async def test_a_sound_issuer_is_three_good_lines(http: Http) -> None:
    found = await look(http)
    assert [(f.check, f.ok) for f in found] == [("issuer team", True), ("clock", True), ("keys of team", True)]


@pytest.mark.parametrize(
    ("cache", "ok"),
    [
        ("max-age=600", True),
        ("public,max-age=601", False),
        ("public, MAX-AGE=86400", False),
        ("no-store", True),
        ("s-max-age=86400", True),
        ("max-age=99999999999", True),
    ],
)
async def test_keys_kept_longer_than_a_new_one_waits_are_told(http: Http, cache: str, *, ok: bool) -> None:
    (*_, found) = await look(http, cache=cache)
    assert found.ok is ok, found


@pytest.mark.parametrize("ahead", [90.0, -90.0])
async def test_a_clock_that_is_wrong_is_told_with_its_cure(http: Http, ahead: float) -> None:
    (found,) = [f for f in await look(http, ahead=ahead) if not f.ok]
    assert "this machine's clock is" in found.text
    assert "timedatectl" in found.cure


async def test_an_issuer_that_is_another_is_told(http: Http) -> None:
    (found,) = await look(http, said="https://elsewhere.example.com")
    assert not found.ok
    assert "calls itself https://elsewhere.example.com" in found.text


async def test_an_issuer_that_is_down_is_told(http: Http) -> None:
    (found,) = [f async for f in issuer.checks("team", "http://127.0.0.1:1", http, clock=time.time)]
    assert "127.0.0.1:1" in found.text
    assert found.cure


async def test_an_issuer_whose_ca_is_unknown_here_is_told(tmp_path: Path) -> None:
    with reviews(tmp_path) as (url, _):
        async with Http() as stranger:
            (found,) = [f async for f in issuer.checks("team", url, stranger, clock=time.time)]
    assert "certificate" in found.text.lower()
    assert found.cure
