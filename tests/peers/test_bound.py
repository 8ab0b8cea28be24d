"""Refresh tokens bound to the sign-in's key (RFC 9449 section 5), at an independent provider, and where it has none."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from juniperd import jose
from juniperd.errors import SubjectRejected
from juniperd.http import Answer, Http
from juniperd.identity import SubjectToken
from juniperd.idp_client import IdpClient
from juniperd.jose import SigningKey
from juniperd.jwks import KeySets
from juniperd.skew import ClockSkew

from .browser import hands
from .person import Door, Person, Receipt
from .provider import DEVICE_CLIENT, Peer, serving
from .shaped import off


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("juniperd.identity.device.SHORTEST_INTERVAL", 0.01)


@pytest.fixture(scope="module", params=["plain", "nonce"])
def binding(request: pytest.FixtureRequest) -> Iterator[str]:
    """A provider that binds; one that wants a nonce of its own in each proof, and one that does not."""
    with serving(interval=0.01, dpop=request.param) as url:
        yield url


@pytest.fixture
async def bound(binding: str, http: Http) -> AsyncIterator[Person]:
    """Somebody who has signed in there."""
    person = at(Peer(binding, http))
    await person.login()
    yield person
    await person.sign_in.close()


def at(peer: Peer, seconds: float = 0.0, person: Person | None = None) -> Person:
    """A person with an agent of its own, whose clock is wrong by so much."""
    clock = off(seconds)
    idp = IdpClient(peer.http, KeySets(peer.http, clock=clock), clock=clock, skew=ClockSkew(clock))
    return Person.at(peer, idp, vault=person.vault if person else None)


@contextmanager
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Of each request with a form: whether it carried a proof."""
    proofs: list[bool] = []
    request = Http.request

    async def noted(http: Http, method: str, url: str, **options: object) -> Answer:
        if options.get("form"):
            headers = options.get("headers")
            proofs.append(isinstance(headers, dict) and "DPoP" in headers)
        return await request(http, method, url, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Http, "request", noted)
        yield proofs


async def stolen(person: Person, key: SigningKey | None) -> int:
    """What a thief of the refresh token gets with a key of its own, or with none."""
    url = f"{person.peer.issuer}/token"
    form = {"grant_type": "refresh_token", "refresh_token": person.stored, "client_id": DEVICE_CLIENT}

    async def tried(nonce: str | None) -> Answer:
        headers = {}
        if key is not None:
            jti = secrets.token_urlsafe(16)
            proof = jose.dpop_proof(key, method="POST", url=url, now=time.time(), jti=jti, nonce=nonce)
            headers = {"DPoP": proof}
        return await person.peer.http.request("POST", url, form=form, headers=headers)

    answer = await tried(None)
    if b"use_dpop_nonce" in answer.body:
        answer = await tried(answer.headers["DPoP-Nonce"])
    assert b"invalid_grant" in answer.body
    return answer.status


async def test_a_device_sign_in_is_bound_and_goes_on_also_after_a_restart(bound: Person) -> None:
    assert bound.rests["bound_to"] == bound.rests["key"]
    assert (await bound.sign_in.state()).bound
    for agent in (bound, bound, bound.restarted(), at(bound.peer, person=bound)):
        await agent.door.verified(await agent.sign_in.subject(fresh=True))


async def test_a_browser_sign_in_is_bound(binding: str, http: Http) -> None:
    person = at(Peer(binding, http))
    async with hands() as tab:
        await person.browse(tab)
    assert person.rests["bound_to"] == person.rests["key"]
    await person.restarted().sign_in.subject()


@pytest.mark.parametrize("key", [None, SigningKey.generate_es256()], ids=["without", "another"])
async def test_a_stolen_refresh_token_is_worth_nothing_and_ends_nothing(bound: Person, key: SigningKey | None) -> None:
    assert await stolen(bound, key) == 400
    old = bound.stored
    await bound.sign_in.subject(fresh=True)
    assert bound.stored != old


async def test_logout_revokes_it(bound: Person) -> None:
    assert await bound.sign_in.logout() == ()
    assert bound.vault.entries == {}


async def test_a_nonce_is_fetched_once_and_used_until_there_is_another(
    bound: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = at(bound.peer, person=bound)
    with heard(monkeypatch) as proofs:
        await again.sign_in.subject()
        first = len(proofs)
        await again.sign_in.subject(fresh=True)
    wants = (await stolen_without_nonce(bound)) == "use_dpop_nonce"
    assert first == (2 if wants else 1)
    assert len(proofs) == first + 1
    assert all(proofs)


async def stolen_without_nonce(person: Person) -> str:
    """The provider's word to a proof without nonce."""
    url = f"{person.peer.issuer}/token"
    proof = jose.dpop_proof(SigningKey.generate_es256(), method="POST", url=url, now=time.time(), jti="once")
    form = {"grant_type": "refresh_token", "refresh_token": "made-up", "client_id": DEVICE_CLIENT}
    answer = (await person.peer.http.request("POST", url, form=form, headers={"DPoP": proof})).json()
    assert isinstance(answer, dict)
    return str(answer["error"])


@pytest.mark.parametrize("seconds", [-400, 400])
async def test_a_clock_that_is_wrong_is_set_right_by_the_first_answer(bound: Person, seconds: float) -> None:
    """More than the provider forgives: five minutes."""
    again = at(bound.peer, seconds, bound)
    await again.sign_in.subject()
    await again.door.verified(await again.sign_in.subject(fresh=True))
    assert again.rests["tries"] == 0


async def test_gone_on_with_the_old_key_the_token_stays_bound_to_its_own(
    bound: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In device flow one session at the provider is one key: the issuer refuses the second one."""
    key = bound.sign_in.identity
    sign_in = Door.sign_in

    async def one_key(door: Door, subject: SubjectToken) -> Receipt:
        if subject.key.kid != key:
            msg = "this sign-in belongs to another key"
            raise SubjectRejected(msg)
        return await sign_in(door, subject)

    monkeypatch.setattr(Door, "sign_in", one_key)
    other = bound.restarted()
    await other.sign_in.subject()
    await bound.login()
    assert bound.sign_in.identity == key
    assert bound.rests["bound_to"] != bound.rests["key"]
    for agent in (bound, other, bound.restarted(), bound):
        await agent.door.verified(await agent.sign_in.subject(fresh=True))


async def test_a_client_whose_proofs_are_refused_signs_in_unbound(binding: str, http: Http) -> None:
    person = at(Peer(binding, http))
    await person.peer.mode(noProofs=True)
    try:
        await person.login()
        assert person.rests["bound_to"] is None
        await person.sign_in.subject(fresh=True)
        await person.restarted().sign_in.subject()
    finally:
        await person.peer.mode(noProofs=False)


async def test_where_the_provider_has_none_nothing_is_sent(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    await person.peer.interval(0.01)
    with heard(monkeypatch) as proofs:
        await person.login()
        await person.sign_in.subject(fresh=True)
    await person.peer.interval(None)
    assert len(proofs) >= 3
    assert not any(proofs)
    assert person.rests["bound_to"] is None
    assert not (await person.sign_in.state()).bound
