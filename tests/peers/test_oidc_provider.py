"""The device flow against an independent provider, turn by turn, on a clock that the test moves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from juniperd.errors import LoginDeclined
from juniperd.http import Http
from juniperd.identity import plug
from juniperd.identity.device import DeviceClient
from juniperd.jwks import KeySets
from juniperd.login import device_client

from .person import Person
from .provider import Peer
from .turns import Turns


@pytest.fixture
def turns(http: Http) -> Turns:
    return Turns(http)


@pytest.fixture
async def client(peer: Peer, http: Http) -> DeviceClient:
    """The provider's own metadata, read as the agent reads it."""
    metadata = await KeySets(http, clock=lambda: 0.0).metadata(peer.issuer)
    return device_client(peer.described(), plug("oidc").endpoints(metadata))


async def test_granted(turns: Turns, client: DeviceClient, peer: Peer) -> None:
    body = await turns.run(client, {2: peer.decide})
    assert isinstance(body, dict)
    assert {"id_token", "refresh_token", "access_token"} <= body.keys()
    assert turns.shown is not None
    assert turns.shown.verification_uri.startswith(peer.issuer)
    assert turns.shown.verification_uri_complete is not None
    assert turns.shown.user_code in turns.shown.verification_uri_complete
    assert turns.shown.expires_in == 600


async def test_a_missing_interval_is_five_seconds_and_the_first_poll_waits_too(
    turns: Turns, client: DeviceClient, peer: Peer
) -> None:
    await turns.run(client, {3: peer.decide})
    assert turns.waits == [5.0, 5.0, 5.0]


async def test_an_interval_that_is_named_is_kept(turns: Turns, client: DeviceClient, peer: Peer) -> None:
    await peer.interval(7)
    try:
        await turns.run(client, {2: peer.decide})
    finally:
        await peer.interval(None)
    assert turns.waits == [7.0, 7.0]


async def test_slow_down_counts_for_good(turns: Turns, client: DeviceClient, peer: Peer) -> None:
    await peer.slow_down(2)
    await turns.run(client, {5: peer.decide})
    assert turns.waits == [5.0, 10.0, 15.0, 15.0, 15.0]


async def test_denied(turns: Turns, client: DeviceClient, peer: Peer) -> None:
    with pytest.raises(LoginDeclined, match=r"^the sign-in was declined in the browser; run: juniper login$"):
        await turns.run(client, {1: lambda code: peer.decide(code, "deny")})
    assert turns.waits == [5.0]


async def test_expired(turns: Turns, client: DeviceClient, peer: Peer) -> None:
    with pytest.raises(LoginDeclined, match=r"^nobody confirmed the code in time; run: juniper login$"):
        await turns.run(client, {2: lambda code: peer.decide(code, "expire")})


async def test_left_alone_it_ends_before_the_code_does(turns: Turns, client: DeviceClient) -> None:
    with pytest.raises(LoginDeclined, match="nobody confirmed the code in time"):
        await turns.run(client, {})
    assert 590 <= sum(turns.waits) <= 600


async def test_a_client_without_the_device_grant(turns: Turns, client: DeviceClient) -> None:
    with pytest.raises(LoginDeclined, match=r"invalid_client.*; ask whoever runs the issuer to allow the device grant"):
        await turns.run(replace(client, client_id="nobody"), {})
    assert turns.waits == []


async def test_the_whole_login(person: Person, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("juniperd.identity.device.SHORTEST_INTERVAL", 0.01)
    await peer.interval(0.01)
    try:
        signed_in = await person.login()
    finally:
        await peer.interval(None)
    assert (signed_in.login, signed_in.identity) == ("u-developer", "peer")
    assert person.door.pinned == [person.sign_in.identity]
    claims = await person.door.verified(await person.sign_in.subject())
    assert (claims["sub"], claims["aud"], claims["amr"]) == ("u-developer", "juniper-device", ["pwd", "mfa"])
