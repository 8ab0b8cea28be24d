"""Pins: a sign-in belongs to the key that showed it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from juniperd.issuer import links
from juniperd.issuer.subject import expected_nonce
from juniperd.jose import SigningKey
from tests.issuer.doubles import Company, Laptop, open_company


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path, extra='require_amr = ["mfa"]') as opened:
        yield opened


def browser_token(company: Company, laptop: Laptop, *, issuer: str | None = None) -> str:
    nonce = expected_nonce(issuer or company.url, laptop.key.kid)
    return company.idp.token(aud="juniper-browser", nonce=nonce)


async def test_a_sign_in_says_who_one_is_and_when_it_ends(company: Company) -> None:
    status, body = await company.laptop().sign_in(company.idp.token())
    assert status == 201
    assert body == {
        "identity": "okta",
        "subject": "u-developer",
        "user": {"id": 7, "login": "developer"},
        "sign_in_ends": int(company.clock()) - 5 + 12 * 3600,
    }
    assert [e["outcome"] for e in company.events("sign_in")] == ["pinned"]
    (link,) = company.events("link")
    assert (link["subject"], link["user_id"]) == ("u-developer", 7)


async def test_without_a_sign_in_a_token_counts_for_nothing(company: Company) -> None:
    status, body = await company.laptop().token(company.idp.token())
    assert (status, body["error"], body["refusal"]["reason"]) == (400, "invalid_request", "not_pinned")
    (event,) = company.events()
    assert event["rule"] == "0"


async def test_another_laptop_with_the_same_token_is_refused(company: Company) -> None:
    _, token = await company.signed_in()
    thief = company.laptop()
    status, body = await thief.token(token)
    assert (status, body["refusal"]["reason"]) == (400, "not_pinned")
    assert "sign out at 127.0.0.1" in body["error_description"]
    assert body["error_description"].endswith("juniper login --device")
    status, body = await thief.sign_in(token)
    assert (status, body["refusal"]["reason"]) == (400, "pinned_elsewhere")
    for path in ("/catalogue", "/explain"):
        status, body = await thief.call("GET", path, token, query="?scope=release-publisher")
        assert (status, body["refusal"]["reason"]) == (400, "not_pinned")


async def test_a_key_swapped_after_sign_in_is_refused_and_the_old_one_still_counts(company: Company) -> None:
    laptop, _ = await company.signed_in()
    company.clock.pass_(300)
    refreshed = company.idp.token(auth_time=int(company.clock()) - 305)
    swapped = Laptop(company)
    assert (await swapped.token(refreshed))[0] == 400
    assert (await laptop.token(refreshed))[0] == 200


async def test_the_same_key_may_show_itself_twice(company: Company) -> None:
    laptop, token = await company.signed_in()
    assert (await laptop.sign_in(token))[0] == 201


async def test_a_new_device_sign_in_is_a_new_pin(company: Company) -> None:
    laptop, token = await company.signed_in()
    company.clock.pass_(60)
    other = company.laptop()
    assert (await other.sign_in(company.idp.token(sid="s-2")))[0] == 201
    assert (await laptop.token(token))[0] == 200


async def test_a_logout_signed_by_the_key_frees_it(company: Company) -> None:
    laptop, token = await company.signed_in()
    assert (await laptop.call("DELETE", "/sign-ins", token))[0] == 204
    assert (await laptop.token(token))[0] == 400
    assert [e["freed"] for e in company.events("sign_out")] == [1]
    company.clock.pass_(1)
    again = company.idp.token(auth_time=int(company.clock()) - 6)
    assert (await company.laptop().sign_in(again))[0] == 201


async def test_a_stolen_token_pins_no_other_key_after_logout(company: Company) -> None:
    owner, first = await company.signed_in()
    company.clock.pass_(240)
    latest = company.idp.token(auth_time=int(company.clock()) - 245)
    thief = company.laptop()
    assert (await thief.sign_in(first))[0] == 400
    assert (await owner.call("DELETE", "/sign-ins", latest))[0] == 204
    company.clock.pass_(30)
    for stolen in (first, latest):
        status, body = await thief.sign_in(stolen)
        assert (status, body["refusal"]["reason"]) == (400, "freed")
        assert (await thief.token(stolen))[0] == 400


async def test_a_key_freed_with_the_token_of_a_later_sign_in_is_freed_as_of_now(company: Company) -> None:
    """What a new login does with the key it replaces: its token says nothing of how late the old sign-in's are."""
    owner, _ = await company.signed_in()
    company.clock.pass_(60)
    later = company.idp.token(sid="s-2")
    company.clock.pass_(60)
    stolen = company.idp.token(auth_time=int(company.clock()) - 125)
    assert (await owner.call("DELETE", "/sign-ins", later))[0] == 204
    thief = company.laptop()
    assert (await thief.sign_in(stolen))[1]["refusal"]["reason"] == "freed"
    assert (await thief.sign_in(later))[0] == 201


async def test_what_was_freed_is_remembered_no_longer_than_its_sign_in_counts(company: Company) -> None:
    laptop, token = await company.signed_in()
    assert (await laptop.call("DELETE", "/sign-ins", token))[0] == 204
    count = "SELECT count(*) FROM freed"
    assert company.issuer.state.read(lambda c: c.execute(count).fetchone()) == (1,)
    company.clock.pass_(13 * 3600)
    await company.signed_in("maintainer")
    assert company.issuer.state.read(lambda c: c.execute(count).fetchone()) == (0,)


async def test_a_thief_cannot_free_it(company: Company) -> None:
    laptop, token = await company.signed_in()
    assert (await company.laptop().call("DELETE", "/sign-ins", token))[0] == 204
    assert (await laptop.token(token))[0] == 200


async def test_a_browser_sign_in_names_its_key_and_may_add_another(company: Company) -> None:
    first, second = company.laptop(), company.laptop()
    tokens = [browser_token(company, laptop) for laptop in (first, second)]
    assert [(await lap.sign_in(t))[0] for lap, t in zip((first, second), tokens, strict=True)] == [201, 201]
    assert (await first.token(tokens[0]))[0] == 200
    assert (await second.token(tokens[1]))[0] == 200


async def test_a_browser_token_for_another_key_or_issuer_pins_nothing(company: Company) -> None:
    laptop, thief = company.laptop(), company.laptop()
    stolen = browser_token(company, laptop)
    elsewhere = browser_token(company, thief, issuer="https://second.test")
    for token in (stolen, elsewhere, company.idp.token(aud="juniper-browser")):
        status, body = await thief.sign_in(token)
        assert (status, body["refusal"]["reason"]) == (400, "nonce")


async def test_a_device_token_of_a_stale_sign_in_is_refused_with_the_way_out(company: Company) -> None:
    old = company.idp.token(auth_time=int(company.clock()) - 12 * 3600 - 61)
    status, body = await company.laptop().sign_in(old)
    assert (status, body["refusal"]["reason"]) == (400, "sign_in_old")
    assert "sign out at 127.0.0.1" in body["error_description"]


async def test_a_sign_in_grows_old_while_its_tokens_are_refreshed(company: Company) -> None:
    laptop, _ = await company.signed_in()
    began = int(company.clock()) - 5
    company.clock.pass_(12 * 3600 + 60)
    status, body = await laptop.token(company.idp.token(auth_time=began))
    assert (status, body["refusal"]["reason"]) == (400, "sign_in_old")
    assert len(company.events()) == 1


async def test_without_auth_time_nobody_can_say_that_it_is_young(company: Company) -> None:
    status, body = await company.laptop().sign_in(company.idp.token(auth_time=None))
    assert (status, body["refusal"]["reason"]) == (400, "auth_time_missing")


async def test_the_identitys_rule_is_check_0(company: Company) -> None:
    laptop = company.laptop()
    token = company.idp.token(amr=["pwd"])
    assert (await laptop.sign_in(token))[0] == 201
    status, body = await laptop.token(token)
    assert (status, body["refusal"]["reason"], body["refusal"]["rule"]) == (403, "amr", "0")


async def test_who_has_no_gitlab_user_is_told_what_to_do(company: Company) -> None:
    status, body = await company.laptop().sign_in(company.idp.token("stranger"))
    assert (status, body["error"]) == (403, "access_denied")
    assert "ask a GitLab administrator" in body["error_description"]


async def test_one_gitlab_user_is_one_identity_for_good(company: Company) -> None:
    await company.signed_in()
    company.gitlab.one["users/7"]["identities"].append({"provider": "oidc", "extern_uid": "u-second"})
    company.issuer.gitlab.forget()
    status, body = await company.laptop().sign_in(company.idp.token("second"))
    assert (status, body["refusal"]["reason"]) == (400, "link_taken")


async def test_a_second_identity_provider_is_no_second_person(company: Company) -> None:
    await company.signed_in()
    taken = company.issuer.state.read(lambda c: links.conflict(c, identity="entra", key="u-developer", user_id=7))
    assert taken is not None
    assert taken.reason == "link_taken"


async def test_pins_of_sign_ins_that_ended_are_dropped(company: Company) -> None:
    await company.signed_in()
    company.clock.pass_(13 * 3600)
    await company.signed_in("maintainer")
    rows = company.issuer.state.read(lambda c: c.execute("SELECT subject FROM pins").fetchall())
    assert rows == [("u-maintainer",)]


async def test_an_identity_that_becomes_another_user_is_refused(company: Company) -> None:
    laptop, token = await company.signed_in()
    company.gitlab.one["users/8"]["identities"] = company.gitlab.one["users/7"]["identities"]
    company.gitlab.one["users/7"]["identities"] = []
    company.issuer.gitlab.forget()
    status, body = await laptop.token(token)
    assert (status, body["refusal"]["reason"]) == (400, "link_changed")


async def test_another_key_a_second_laptop_and_an_rsa_key_mint_nothing(company: Company) -> None:
    _, token = await company.signed_in("developer")
    for key in (None, SigningKey.generate_rs256()):
        thief = company.laptop()
        if key is not None:
            thief.key = key
        assert (await thief.sign_in(token))[0] != 201
        assert (await thief.token(token))[0] != 200
        assert (await thief.call("DELETE", "/sign-ins", token))[0] == 204
        assert (await thief.token(token))[0] != 200
        assert (await thief.call("GET", "/catalogue", token))[0] != 200
        assert (await thief.call("GET", "/explain", token, query="?scope=invoice-archive-writer"))[0] != 200
    for change in ({"sid": None}, {"sid": "other"}, {"auth_time": int(company.clock()) - 6}):
        other = company.idp.token("developer", **change)
        assert (await company.laptop().token(other))[0] != 200


async def test_device_client_and_browser_client_are_not_exchanged(company: Company) -> None:
    laptop, _ = await company.signed_in("developer")
    other = company.idp.token("developer", aud="juniper-browser", azp="juniper-device")
    assert (await laptop.sign_in(other))[0] != 201
    assert (await laptop.token(other))[0] != 200
    mixed = company.idp.token("developer", azp="juniper-browser")
    assert (await company.laptop().token(mixed))[0] != 200
    refreshed = company.idp.token("developer", auth_time=int(company.clock()) - 4)
    assert (await laptop.token(refreshed))[0] != 200
