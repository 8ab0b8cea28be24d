"""Key sets: found by discovery, fetched anew for an unknown kid, and never once per request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from juniperd import jose, jwks
from juniperd.errors import TokenRejected, UpstreamAnswer
from juniperd.http import Http
from juniperd.jose import SigningKey
from juniperd.jwks import KeySets

CLIENT = "juniper-device"


@dataclass
class Provider:
    """A provider whose documents a test changes."""

    keys: list[SigningKey] = field(default_factory=lambda: [SigningKey.generate_rs256()])
    changes: dict[str, Any] = field(default_factory=dict)
    fetched: int = 0
    url: str = ""

    async def discovery(self, _: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": self.url + "/keys", **self.changes})

    async def published(self, _: web.Request) -> web.Response:
        self.fetched += 1
        return web.json_response({"keys": [k.public_jwk() for k in self.keys]})

    def token(self, key: SigningKey, now: float = 1000.0) -> str:
        return key.sign({"iss": self.url, "sub": "u", "aud": CLIENT, "iat": int(now), "exp": int(now) + 600})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", made.discovery)
    app.router.add_get("/keys", made.published)
    async with TestServer(app, host="127.0.0.1") as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def sets() -> AsyncIterator[tuple[KeySets, Clock]]:
    clock = Clock()
    async with Http(plain_loopback=True) as http:
        yield KeySets(http, clock=clock), clock


def profile(provider: Provider) -> jose.Profile:
    return jose.person_profile(provider.url, frozenset({CLIENT}))


async def test_many_at_once_are_one_fetch(provider: Provider, sets: tuple[KeySets, Clock]) -> None:
    keysets, _ = sets
    token = provider.token(provider.keys[0])
    got = await asyncio.gather(*(keysets.verify(token, profile(provider)) for _ in range(20)))
    assert len(got) == 20
    assert provider.fetched == 1
    assert (await keysets.metadata(provider.url))["issuer"] == provider.url


async def test_a_rotated_key_is_found_but_an_invented_one_costs_one_look_in_thirty_seconds(
    provider: Provider, sets: tuple[KeySets, Clock]
) -> None:
    keysets, clock = sets
    await keysets.verify(provider.token(provider.keys[0]), profile(provider))
    stranger = SigningKey.generate_rs256()
    for _ in range(5):
        with pytest.raises(TokenRejected):
            await keysets.verify(provider.token(stranger), profile(provider))
    assert provider.fetched == 2
    clock.now += jwks.REFETCH_EVERY
    new = SigningKey.generate_rs256()
    provider.keys.append(new)
    await keysets.verify(provider.token(new), profile(provider))
    assert provider.fetched == 3
    for _ in range(5):
        with pytest.raises(TokenRejected):
            await keysets.verify(provider.token(stranger), profile(provider))
    assert provider.fetched == 3


async def test_a_key_rotated_right_after_the_first_look_is_found(
    provider: Provider, sets: tuple[KeySets, Clock]
) -> None:
    keysets, _ = sets
    await keysets.verify(provider.token(provider.keys[0]), profile(provider))
    provider.keys.append(SigningKey.generate_rs256())
    await keysets.verify(provider.token(provider.keys[1]), profile(provider))


async def test_keys_are_fetched_again_after_an_hour(provider: Provider, sets: tuple[KeySets, Clock]) -> None:
    keysets, clock = sets
    await keysets.verify(provider.token(provider.keys[0]), profile(provider))
    clock.now += jwks.LIFE
    await keysets.verify(provider.token(provider.keys[0], clock.now), profile(provider))
    assert provider.fetched == 2


@pytest.mark.parametrize(
    "changes", [{"issuer": "https://other.example.com"}, {"jwks_uri": None}, {"jwks_uri": "/missing"}]
)
async def test_a_discovery_document_that_does_not_fit_is_refused(
    provider: Provider, sets: tuple[KeySets, Clock], changes: dict[str, Any]
) -> None:
    if changes.get("jwks_uri"):
        changes = {"jwks_uri": provider.url + changes["jwks_uri"]}
    provider.changes = changes
    with pytest.raises(UpstreamAnswer):
        await sets[0].verify(provider.token(provider.keys[0]), profile(provider))


async def test_issuers_are_few(sets: tuple[KeySets, Clock]) -> None:
    keysets, _ = sets
    for number in range(jwks.MAX_ISSUERS):
        with pytest.raises(Exception, match="cannot be reached"):
            await keysets.metadata(f"http://127.0.0.1:1/{number}")
    with pytest.raises(UpstreamAnswer, match="more than"):
        await keysets.metadata("http://127.0.0.1:1/last")


async def test_a_provider_that_hangs_holds_up_nobody_whose_key_is_known(
    provider: Provider, sets: tuple[KeySets, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    keysets, _ = sets
    token = provider.token(provider.keys[0])
    await keysets.verify(token, profile(provider))
    hanging, over = asyncio.Event(), asyncio.Event()

    async def hang(_issuer: str) -> None:
        hanging.set()
        await over.wait()
        msg = "late"
        raise UpstreamAnswer(msg)

    monkeypatch.setattr(keysets, "_fetch", hang)
    stranger = asyncio.create_task(keysets.verify(provider.token(SigningKey.generate_rs256()), profile(provider)))
    await hanging.wait()
    assert (await keysets.verify(token, profile(provider)))["sub"] == "u"
    with pytest.raises(TokenRejected):
        await keysets.verify(provider.token(SigningKey.generate_rs256()), profile(provider))
    over.set()
    with pytest.raises(UpstreamAnswer):
        await stranger


async def test_a_failure_answers_for_itself_for_a_while(provider: Provider, sets: tuple[KeySets, Clock]) -> None:
    keysets, clock = sets
    right, provider.changes = provider.changes, {"jwks_uri": provider.url + "/missing"}
    token = provider.token(provider.keys[0])
    with pytest.raises(UpstreamAnswer):
        await keysets.verify(token, profile(provider))
    provider.changes = right
    with pytest.raises(UpstreamAnswer):
        await keysets.verify(token, profile(provider))
    assert provider.fetched == 0
    clock.now += jwks.RETRY_AFTER
    await keysets.verify(token, profile(provider))
    assert provider.fetched == 1
