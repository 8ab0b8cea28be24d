"""Okta's shape: org and custom authorization server, on an independent provider in its paths, words and claims."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from juniperd.errors import LoginDeclined, LoginExpired, TokenRejected, UpstreamAnswer
from juniperd.http import Http
from juniperd.issuer.inquiry import Who
from juniperd.login import CodeShown

from .person import Person
from .shaped import Shaped, StrictDoor, off, shaped
from .turns import Turns

SHAPES = ["okta-org", "okta-custom"]
PREFIX = {"okta-org": "/oauth2/v1", "okta-custom": "/oauth2/default/v1"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("juniperd.identity.device.SHORTEST_INTERVAL", 0.01)


@pytest.fixture(params=SHAPES)
def okta(request: pytest.FixtureRequest, tmp_path: Path, http: Http) -> Iterator[Shaped]:
    with shaped(tmp_path, http, request.param) as made:
        yield made


@pytest.fixture
def turns(http: Http) -> Turns:
    return Turns(http)


@pytest.fixture
async def signed_in(okta: Shaped) -> Person:
    person = okta.person()
    await person.login()
    return person


def judge(person: Person) -> StrictDoor:
    assert isinstance(person.door, StrictDoor)
    return person.door


async def test_granted_and_the_person_is_the_sub(okta: Shaped, turns: Turns) -> None:
    person = okta.person()
    signed_in = await person.login()
    (subject,) = judge(person).seen
    assert (signed_in.login, subject.key) == ("u-developer",) * 2
    assert subject.who == Who("okta", "u-developer")
    assert subject.sign_in.amr == {"mfa", "otp", "pwd"}
    assert subject.by_device
    await okta.flow(turns)
    assert turns.shown is not None
    assert turns.shown.verification_uri_complete is not None
    assert urlsplit(turns.shown.verification_uri).path.endswith("/activate")
    metadata = (await okta.peer.http.request("GET", f"{okta.peer.issuer}/.well-known/openid-configuration")).json()
    assert isinstance(metadata, dict)
    assert urlsplit(metadata["token_endpoint"]).path == f"{PREFIX[okta.shape]}/token"


@pytest.mark.parametrize(
    ("decision", "reason"), [("deny", "declined in the browser"), ("expire", "nobody confirmed the code in time")]
)
async def test_denied_or_left_alone(okta: Shaped, decision: str, reason: str) -> None:
    person = okta.person()
    with pytest.raises(LoginDeclined, match=rf"{reason}; run: juniper login$"):
        await person.login(decision)
    assert person.vault.entries == {}


async def test_slowed(okta: Shaped, turns: Turns) -> None:
    await okta.peer.interval(5)
    await okta.peer.slow_down(2)
    await okta.flow(turns, {5: okta.peer.decide})
    assert turns.waits == [5.0, 10.0, 15.0, 15.0, 15.0]


@pytest.mark.parametrize("where", ["device", "poll"])
async def test_an_administrators_no_is_not_the_persons(okta: Shaped, where: str) -> None:
    await okta.peer.mode(blocked=where)
    with pytest.raises(LoginDeclined) as refused:
        await okta.person().login()
    assert "no access policy of the authorization server allows this sign-in (access_denied: " in str(refused.value)
    assert str(refused.value).endswith(
        "ask your Okta administrator for an access policy rule that allows the device grant to juniper's application"
    )


async def test_a_policy_that_changed_refuses_the_refresh_and_the_sign_in_stays(signed_in: Person) -> None:
    # The shape lies over a provider that did refresh, so the token it spent must be good for once more.
    await signed_in.peer.mode(blocked="refresh", grace=60)
    with pytest.raises(UpstreamAnswer, match=r"does not renew the sign-in .*ask your Okta administrator"):
        await signed_in.sign_in.subject(fresh=True)
    await signed_in.peer.mode(blocked="")
    await signed_in.sign_in.subject(fresh=True)


async def test_an_unknown_client_is_told_in_the_shape_of_oktas_own_api(okta: Shaped, turns: Turns) -> None:
    person = Person.at(okta.peer, okta.person().idp, client="nobody")
    with pytest.raises(LoginDeclined, match=r"invalid_client: Invalid value for 'client_id' .*error id oae7Hkq0-test"):
        await person.login()
    assert turns.waits == []


async def test_deprovisioned_between_refreshes(okta: Shaped) -> None:
    await okta.peer.add("u-leaver")
    person = okta.person()
    await person.login(sub="u-leaver")
    await person.sign_in.subject(fresh=True)
    await okta.peer.remove("u-leaver")
    with pytest.raises(LoginExpired, match=r"ended the sign-in \(invalid_grant.*run: juniper login$"):
        await person.sign_in.subject(fresh=True)
    assert person.vault.entries == {}


async def test_a_token_used_again_within_the_grace_hurts_nobody(signed_in: Person) -> None:
    await signed_in.peer.mode(grace=60)
    old = signed_in.stored
    await signed_in.sign_in.subject(fresh=True)
    assert signed_in.stored != old
    assert await signed_in.peer.spend(old) == 200
    await signed_in.sign_in.subject(fresh=True)
    assert (await signed_in.sign_in.state()).state == "signed-in"


async def test_a_token_used_again_without_grace_ends_the_family(signed_in: Person) -> None:
    old = signed_in.stored
    await signed_in.sign_in.subject(fresh=True)
    assert await signed_in.peer.spend(old) == 400
    with pytest.raises(LoginExpired, match="refresh token is invalid or expired"):
        await signed_in.sign_in.subject(fresh=True)
    assert (await signed_in.sign_in.state()).state == "ended"


async def test_logout_revokes_at_okta(signed_in: Person) -> None:
    token = signed_in.stored
    assert await signed_in.sign_in.logout() == ()
    assert await signed_in.peer.spend(token) == 400


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_server_that_restarts_goes_on_with_the_same_sign_in(shape: str, tmp_path: Path, http: Http) -> None:
    state = str(tmp_path / "provider.json")
    with shaped(tmp_path, http, shape, state=state) as first:
        person = first.person()
        await person.login()
        before = await person.sign_in.subject()
        port = urlsplit(first.peer.issuer).port
    assert await person.sign_in.subject(fresh=True) == before
    with shaped(tmp_path, http, shape, state=state, port=port):
        after = await person.sign_in.subject(fresh=True)
        assert after.token.reveal() != before.token.reveal()
        assert (await judge(person).judged(after.token.reveal())).key == "u-developer"


async def test_a_server_that_restarts_while_the_code_stands(tmp_path: Path, http: Http) -> None:
    state = str(tmp_path / "provider.json")
    with shaped(tmp_path, http, "okta-custom", state=state) as first:
        person = first.person()
        port = urlsplit(first.peer.issuer).port
        events = person.sign_in.login()
        shown = await anext(event async for event in events if isinstance(event, CodeShown))
    # It is gone by now; these turns of the flow meet nobody.
    for _ in range(4):
        await anext(events)
    with shaped(tmp_path, http, "okta-custom", state=state, port=port):
        await person.peer.decide(shown.show.user_code)
        assert [event async for event in events]
    assert (await person.sign_in.state()).state == "signed-in"


@pytest.mark.parametrize("seconds", [-90, 90])
async def test_an_agents_clock_that_is_wrong_costs_no_refresh(okta: Shaped, seconds: float) -> None:
    person = okta.person(agent=off(seconds))
    await person.login()
    # The first refresh is where the provider's Date is first seen.
    await person.sign_in.subject(fresh=True)
    writes = person.vault.writes
    for _ in range(3):
        await judge(person).verified(await person.sign_in.subject())
    assert person.vault.writes == writes


async def test_an_issuers_clock_that_is_behind_is_named(okta: Shaped) -> None:
    person = okta.person(issuer=off(-90))
    with pytest.raises(TokenRejected, match="issued in the future; check this machine's clock"):
        await person.login()
    assert person.vault.entries == {}


async def test_an_issuers_clock_that_is_ahead_only_makes_a_token_older(okta: Shaped) -> None:
    person = okta.person(issuer=off(90))
    await person.login()
    await judge(person).verified(await person.sign_in.subject(fresh=True))


async def test_names_and_addresses_are_nobody(okta: Shaped) -> None:
    judged = judge(okta.person())
    other = {"preferred_username": "admin@example.com", "email": "admin@example.com", "email_verified": True}
    assert (await judged.judged(await okta.id_token(**other))).key == "u-developer"


async def test_two_audiences_are_refused(okta: Shaped) -> None:
    token = await okta.id_token(aud=["juniper-device", "another-client"])
    with pytest.raises(TokenRejected, match="more than one audience"):
        await judge(okta.person()).judged(token)
