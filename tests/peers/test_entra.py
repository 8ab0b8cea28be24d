"""Microsoft Entra's shape: one tenant, on an independent provider in its paths, words and claims."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from juniperd.errors import LoginDeclined, LoginExpired, LoginRequired, TokenRejected
from juniperd.http import Http
from juniperd.identity import plug
from juniperd.issuer.inquiry import Who

from .person import Person
from .shaped import OID, TENANT, Shaped, StrictDoor, off, shaped
from .turns import Turns

TRACE = "trace id 0f1e2d3c-0000-4000-8000-00000000abcd"
BLOCKED = (
    r"^your tenant blocks device code \(invalid_grant: AADSTS53003: Access has been blocked by Conditional Access "
    rf"policies\..*, {TRACE}\); use the browser: juniper login --browser$"
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("juniperd.identity.device.SHORTEST_INTERVAL", 0.01)


@pytest.fixture
def entra(tmp_path: Path, http: Http) -> Iterator[Shaped]:
    with shaped(tmp_path, http, "entra") as made:
        yield made


@pytest.fixture
def turns(http: Http) -> Turns:
    return Turns(http)


@pytest.fixture
async def signed_in(entra: Shaped) -> Person:
    person = entra.person()
    await person.login()
    return person


def judge(person: Person) -> StrictDoor:
    assert isinstance(person.door, StrictDoor)
    return person.door


async def test_granted_and_the_person_is_tenant_and_object(entra: Shaped) -> None:
    person = entra.person()
    signed_in = await person.login()
    (subject,) = judge(person).seen
    assert signed_in.login == subject.key == f"{TENANT}/{OID}"
    assert subject.who == Who("entra", OID)
    assert subject.sign_in.amr == frozenset()
    assert entra.peer.issuer.endswith(f"/{TENANT}/v2.0")


@pytest.mark.parametrize("old_name", [False, True])
async def test_the_page_is_shown_by_either_name_and_its_message_never(
    entra: Shaped, turns: Turns, old_name: bool
) -> None:
    await entra.peer.mode(oldName=old_name)
    await entra.flow(turns)
    assert turns.shown is not None
    assert turns.shown.verification_uri.endswith("/devicelogin")
    assert turns.shown.verification_uri_complete is None
    assert turns.shown.expires_in == 900
    assert "evil" not in str(turns.shown).lower()


async def test_declined_in_entras_own_word(entra: Shaped) -> None:
    with pytest.raises(LoginDeclined, match=r"^the sign-in was declined in the browser; run: juniper login$"):
        await entra.person().login("deny")


async def test_left_alone_it_names_the_way_round_a_block(entra: Shaped) -> None:
    """Where Conditional Access stops the person on its page, the poll hears nothing but the code's end."""
    with pytest.raises(LoginDeclined, match=r"^nobody confirmed the code in time; .*juniper login --browser\)$"):
        await entra.person().login("expire")


async def test_a_code_that_entra_does_not_know(entra: Shaped, turns: Turns) -> None:
    await entra.flow(turns)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "client_id": "juniper-device"}
    url = entra.peer.issuer.replace("/v2.0", "/oauth2/v2.0/token")
    answer = await entra.peer.http.request("POST", url, form={**form, "device_code": "made-up"})
    read = plug("entra").error(answer.json(), "")
    assert read.said.startswith("bad_verification_code: AADSTS70018")
    assert read.problem == "Microsoft Entra does not know the code any more"


async def test_slowed(entra: Shaped, turns: Turns) -> None:
    await entra.peer.interval(None)
    await entra.peer.slow_down(2)
    await entra.flow(turns, {5: entra.peer.decide})
    assert turns.waits == [5.0, 10.0, 15.0, 15.0, 15.0]


@pytest.mark.parametrize("where", ["device", "poll"])
async def test_a_tenant_that_blocks_device_code(entra: Shaped, where: str) -> None:
    await entra.peer.mode(blocked=where)
    with pytest.raises(LoginDeclined, match=BLOCKED):
        await entra.person().login()


async def test_a_tenant_that_blocks_the_refresh_ends_the_sign_in_with_the_same_cure(signed_in: Person) -> None:
    await signed_in.peer.mode(blocked="refresh")
    for _ in range(2):
        with pytest.raises(LoginExpired, match=r"your tenant blocks device code: interaction_required.*--browser$"):
            await signed_in.sign_in.subject(fresh=True)
    assert signed_in.vault.entries == {}


async def test_disabled_between_refreshes(entra: Shaped) -> None:
    await entra.peer.add("u-leaver")
    await entra.peer.add("u-other")
    person = entra.person()
    await person.login(sub="u-leaver")
    await person.sign_in.subject(fresh=True)
    await entra.peer.remove("u-leaver")
    with pytest.raises(LoginExpired) as ended:
        await person.sign_in.subject(fresh=True)
    assert "the account is disabled: invalid_grant: AADSTS50057" in str(ended.value)
    assert TRACE in str(ended.value)
    assert str(ended.value).endswith("ask your Microsoft Entra administrator to enable it")


async def test_entra_lets_old_refresh_tokens_live(signed_in: Person) -> None:
    await signed_in.peer.mode(grace=1e9)
    old = signed_in.stored
    await signed_in.sign_in.subject(fresh=True)
    assert await signed_in.peer.spend(old) == 200
    await signed_in.sign_in.subject(fresh=True)


async def test_sessions_revoked_by_an_administrator(signed_in: Person) -> None:
    old = signed_in.stored
    await signed_in.sign_in.subject(fresh=True)
    assert await signed_in.peer.spend(old) == 400
    with pytest.raises(LoginExpired, match=r"sessions of this account were revoked.*AADSTS50173.*run: juniper login$"):
        await signed_in.sign_in.subject(fresh=True)


async def test_logout_where_there_is_nothing_to_revoke_at(signed_in: Person) -> None:
    assert await signed_in.sign_in.logout() == ()
    assert signed_in.door.pinned == []
    assert signed_in.vault.entries == {}


async def test_a_client_that_the_tenant_does_not_know(entra: Shaped) -> None:
    person = Person.at(entra.peer, entra.person().idp, client="nobody")
    with pytest.raises(
        LoginDeclined, match=r"^the tenant does not know juniper's application .*AADSTS700016.* trace id"
    ):
        await person.login()


async def test_a_server_that_restarts_goes_on_with_the_same_sign_in(tmp_path: Path, http: Http) -> None:
    state = str(tmp_path / "provider.json")
    with shaped(tmp_path, http, "entra", state=state) as first:
        person = first.person()
        await person.login()
        before = await person.sign_in.subject()
        port = urlsplit(first.peer.issuer).port
    assert await person.sign_in.subject(fresh=True) == before
    with shaped(tmp_path, http, "entra", state=state, port=port):
        after = await person.sign_in.subject(fresh=True)
        assert (await judge(person).judged(after.token.reveal())).key == f"{TENANT}/{OID}"


@pytest.mark.parametrize("seconds", [-90, 90])
async def test_an_agents_clock_that_is_wrong_costs_no_refresh(entra: Shaped, seconds: float) -> None:
    await entra.peer.mode(backdate=300)
    person = entra.person(agent=off(seconds))
    await person.login()
    await person.sign_in.subject(fresh=True)
    writes = person.vault.writes
    for _ in range(3):
        await judge(person).verified(await person.sign_in.subject())
    assert person.vault.writes == writes


async def test_tokens_dated_five_minutes_back_are_no_reason_to_refresh(entra: Shaped) -> None:
    await entra.peer.mode(backdate=300)
    person = entra.person()
    await person.login()
    writes = person.vault.writes
    assert await person.sign_in.subject() == await person.sign_in.subject()
    assert person.vault.writes == writes


async def test_without_auth_time_the_optional_claim_is_named(entra: Shaped) -> None:
    await entra.peer.mode(claims={"auth_time": None})
    with pytest.raises(LoginExpired, match=r"without auth_time; add the optional claim auth_time .*then run: juniper"):
        await entra.person().login()


@pytest.mark.parametrize(
    ("claims", "rule"),
    [
        ({"oid": None}, "oid"),
        ({"oid": ""}, "oid"),
        ({"oid": 7}, "oid"),
        ({"oid": "developer@example.com"}, "oid"),
        ({"tid": None}, "tid"),
        ({"tid": "00000000-0000-4000-8000-000000000000"}, "tid"),
        ({"ver": "1.0"}, "ver"),
        ({"ver": None}, "ver"),
        ({"iss": f"https://sts.windows.net/{TENANT}/"}, "iss"),
        ({"iss": "https://login.microsoftonline.com/common/v2.0"}, "iss"),
        ({"aud": ["juniper-device", "another-client"]}, "aud"),
        ({"azp": "another-client"}, "azp"),
    ],
)
async def test_what_is_not_one_person_of_this_tenant_is_refused(
    entra: Shaped, claims: dict[str, object], rule: str
) -> None:
    token = await entra.id_token(**claims)
    with pytest.raises(TokenRejected) as refused:
        await judge(entra.person()).judged(token)
    assert refused.value.rule == rule


async def test_a_token_of_the_old_endpoint_is_no_sign_in_for_the_agent_either(entra: Shaped) -> None:
    await entra.peer.mode(claims={"iss": f"https://sts.windows.net/{TENANT}/"})
    with pytest.raises(LoginRequired, match="the ID token is not one of"):
        await entra.person().login()


async def test_another_person_with_the_same_address_is_another_person(entra: Shaped) -> None:
    judged = judge(entra.person())
    named = {"email": "a@example.com", "upn": "a@example.com", "preferred_username": "a@example.com", "sub": "pairwise"}
    first = await judged.judged(await entra.id_token(**named))
    second = await judged.judged(await entra.id_token(**named, oid=OID.replace("00112233", "ffffffff")))
    assert first.key == f"{TENANT}/{OID}"
    assert first.key != second.key
    assert first.who != second.who


async def test_too_many_groups_are_no_groups_and_no_obstacle(entra: Shaped) -> None:
    """Nothing of the issuer's looks at groups, so an overage can neither grant nor hide anything."""
    overage = {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.invalid"}}}
    subject = await judge(entra.person()).judged(await entra.id_token(**overage, hasgroups=True))
    assert subject.key == f"{TENANT}/{OID}"
    assert not [name for name in type(subject).__slots__ if "group" in name]


async def test_an_authentication_context_counts(entra: Shaped) -> None:
    subject = await judge(entra.person()).judged(await entra.id_token(acrs=["c1", "urn:user:registersecurityinfo"]))
    assert "c1" in subject.sign_in.acrs
