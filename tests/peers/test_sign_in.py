"""A sign-in's life at an independent provider that rotates refresh tokens and ends a family whose old one comes back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from juniperd.errors import LoginDeclined, LoginExpired, LoginRequired
from juniperd.http import Http
from juniperd.idp_client import IdpClient
from juniperd.jwks import KeySets
from juniperd.skew import ClockSkew

from .person import AT_ISSUER, Entry, Person
from .provider import DEVICE_CLIENT, Peer, serving


@pytest.fixture(autouse=True)
async def _quick(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Polls come at once; what their pace is, the flow's own tests say."""
    monkeypatch.setattr("juniperd.identity.device.SHORTEST_INTERVAL", 0.01)
    await peer.interval(0.01)
    yield
    await peer.interval(None)


@pytest.fixture
async def signed_in(person: Person) -> AsyncIterator[Person]:
    """A person who has just signed in."""
    await person.login()
    yield person
    await person.sign_in.close()


async def test_a_refresh_rotates_and_the_issuer_takes_what_comes(signed_in: Person) -> None:
    first, before = signed_in.stored, await signed_in.sign_in.subject()
    after = await signed_in.sign_in.subject(fresh=True)
    assert signed_in.stored != first
    assert after.key.kid == before.key.kid
    old, new = await signed_in.door.verified(before), await signed_in.door.verified(after)
    assert (new["sub"], new["auth_time"]) == (old["sub"], old["auth_time"])


async def test_a_new_refresh_token_rests_before_anything_is_used(signed_in: Person) -> None:
    old, held = signed_in.stored, asyncio.Event()
    loop, may_go = asyncio.get_running_loop(), threading.Event()

    def hold(entry: Entry) -> None:
        if entry["refresh_token"] != old:
            loop.call_soon_threadsafe(held.set)
            may_go.wait()

    signed_in.vault.before_write = hold
    asking = asyncio.create_task(signed_in.sign_in.subject(fresh=True))
    await held.wait()
    assert not asking.done()
    may_go.set()
    await signed_in.door.verified(await asking)


async def test_fifty_callers_are_one_refresh(signed_in: Person) -> None:
    writes = signed_in.vault.writes
    tokens = await asyncio.gather(*(signed_in.sign_in.subject(fresh=True) for _ in range(50)))
    assert len({token.token.reveal() for token in tokens}) == 1
    assert signed_in.vault.writes == writes + 2, "one for what goes out, one for what comes back"


async def test_a_restarted_agent_goes_on_with_what_rests(signed_in: Person) -> None:
    await signed_in.sign_in.subject(fresh=True)
    again = signed_in.restarted()
    subject = await again.sign_in.subject()
    assert subject.key.kid == signed_in.door.pinned[0]
    assert (await again.door.verified(subject))["sub"] == "u-developer"


async def test_a_reused_refresh_token_ends_the_sign_in(signed_in: Person) -> None:
    old = signed_in.stored
    await signed_in.sign_in.subject(fresh=True)
    assert await signed_in.peer.spend(old) == 400
    with pytest.raises(LoginExpired, match=r"ended the sign-in \(invalid_grant.*; run: juniper login$"):
        await signed_in.sign_in.subject(fresh=True)
    assert (await signed_in.sign_in.state()).state == "ended"
    assert len(signed_in.changes) == 2
    assert signed_in.vault.entries == {}


async def test_a_deleted_account_has_to_sign_in_again(person: Person, peer: Peer) -> None:
    await peer.add("u-leaver")
    await person.login(sub="u-leaver")
    await peer.remove("u-leaver")
    with pytest.raises(LoginExpired, match="run: juniper login"):
        await person.sign_in.subject(fresh=True)
    assert person.vault.entries == {}


async def test_logout_revokes_the_refresh_token_and_frees_the_pin(signed_in: Person) -> None:
    token = signed_in.stored
    assert await signed_in.sign_in.logout() == ()
    assert signed_in.door.pinned == []
    assert signed_in.vault.entries == {}
    assert await signed_in.peer.spend(token) == 400
    with pytest.raises(LoginRequired, match=r"^nobody is signed in; run: juniper login$"):
        await signed_in.sign_in.subject()


async def test_signing_in_again_frees_the_old_pin(signed_in: Person) -> None:
    first = signed_in.sign_in.identity
    await signed_in.login()
    assert signed_in.sign_in.identity != first
    assert signed_in.door.pinned == [signed_in.sign_in.identity]


@pytest.mark.parametrize(
    ("decision", "reason"), [("deny", "declined in the browser"), ("expire", "nobody confirmed the code in time")]
)
async def test_a_login_that_is_not_granted_leaves_nothing(person: Person, decision: str, reason: str) -> None:
    with pytest.raises(LoginDeclined, match=reason):
        await person.login(decision)
    assert person.vault.entries == {}
    assert person.door.pinned == []
    assert (await person.sign_in.state()).state == "signed-out"


async def test_a_provider_that_sends_no_auth_time_is_named_with_the_setting(http: Http) -> None:
    with serving(authTime=False, interval=0.01) as url:
        person = Person.at(Peer(url, http), _idp(http))
        with pytest.raises(LoginExpired, match=r"^Peer sent an ID token without auth_time; make the provider send"):
            await person.login()
    assert person.vault.entries == {}


async def test_a_provider_that_is_gone_does_not_end_a_young_sign_in(http: Http) -> None:
    with serving(interval=0.01) as url:
        person = Person.at(Peer(url, http), _idp(http))
        await person.login()
        held = await person.sign_in.subject()
    assert await person.sign_in.subject(fresh=True) == held
    assert AT_ISSUER in person.vault.entries
    assert (await person.sign_in.state()).state == "signed-in"


async def test_a_client_that_the_provider_does_not_know(peer: Peer, idp: IdpClient) -> None:
    stranger = Person.at(peer, idp, client=f"not-{DEVICE_CLIENT}")
    with pytest.raises(LoginDeclined, match="allow the device grant for this client"):
        await stranger.login()


def _idp(http: Http) -> IdpClient:
    return IdpClient(http, KeySets(http, clock=time.time), clock=time.time, skew=ClockSkew(time.time))
