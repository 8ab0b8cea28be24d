"""The catalogue and explanations: only to whom they may be shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.issuer.doubles import Company, environment, member, open_company, user


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


async def test_it_lists_what_is_held_and_why_not(company: Company) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.call("GET", "/catalogue", token)
    assert status == 200
    assert body["user"] == {"id": 7, "login": "developer"}
    rows = {row["name"]: row for row in body["scopes"]}
    assert list(rows) == ["invoice-archive-writer", "release-publisher", "ledger-production-reader", "sleeping-writer"]
    assert [row["held"] for row in rows.values()] == [True, False, False, True]
    assert rows["release-publisher"]["reason"].startswith("merge only")
    assert rows["sleeping-writer"]["activation"] == "session"
    assert rows["invoice-archive-writer"]["targets"] == [
        {
            "relying_party": "aws-staging",
            "kind": "aws",
            "role_arn": "arn:aws:iam::111122223333:role/invoice-archive-writer",
            "region": "eu-west-1",
            "account_id": "111122223333",
        }
    ]
    assert company.events() == []


async def test_a_reporter_sees_and_an_outsider_does_not(company: Company) -> None:
    for who, seen in (("reporter", 4), ("outsider", 0)):
        laptop, token = await company.signed_in(who)
        _, body = await laptop.call("GET", "/catalogue", token)
        assert len(body["scopes"]) == seen
        assert not any(row["held"] for row in body["scopes"])


async def test_a_late_gitlab_makes_no_listing_with_holes(company: Company) -> None:
    laptop, token = await company.signed_in()
    company.gitlab.faults["projects/42/members/all/7"] = (502, {}, {})
    status, body = await laptop.call("GET", "/catalogue", token)
    assert (status, body["error"]) == (503, "temporarily_unavailable")


async def test_an_explanation_shows_what_was_asked_and_answered(company: Company) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.call("GET", "/explain", token, query="?scope=release-publisher")
    assert status == 200
    assert (body["verdict"], body["rule"], body["reason"]) == ("refused", "3", "merge_only")
    push = "needs push on the branch main; you may merge: ask the maintainers of shop/billing, or use a scope without a ref"
    assert body["cure"] == push
    asked = {step["asked"]: step for step in body["steps"]}
    assert asked["GET /projects/42/members/all/7"]["answered"] == "access level 30"
    assert asked["GET /projects/42/protected_branches"]["verdict"] == "refused"
    assert asked["GET /projects/42/protected_branches"]["answered"] == "main"
    status, body = await laptop.call("GET", "/explain", token, query="?scope=invoice-archive-writer")
    assert (status, body["verdict"], body["reason"]) == (200, "permitted", None)
    assert {step["rule"] for step in body["steps"]} == set("01234567")


async def test_an_explanation_begins_with_what_the_issuer_itself_remembers(company: Company) -> None:
    laptop, token = await company.signed_in()
    await company.issuer.desk().act("deny", {"kind": "scope", "value": "invoice-archive-writer"})
    status, body = await laptop.call("GET", "/explain", token, query="?scope=invoice-archive-writer")
    assert (status, body["verdict"], body["rule"], body["reason"]) == (200, "refused", "deny", "denied")
    first, *others = body["steps"]
    assert (first["asked"], first["verdict"]) == ("what the issuer remembers", "refused")
    assert {step["rule"] for step in others} == set("01234567")


@pytest.mark.parametrize("scope", ["invoice-archive-writer", "nothing"])
async def test_who_may_not_know_gets_an_id_alone(company: Company, scope: str) -> None:
    laptop, token = await company.signed_in("outsider")
    _, body = await laptop.call("GET", "/explain", token, query=f"?scope={scope}")
    assert set(body) == {"verdict", "id"}
    assert body["verdict"] == "refused"
    (told,) = [e for e in company.events("explain") if e["id"] == body["id"]]
    assert told["reason"] == {"invoice-archive-writer": "not_a_member", "nothing": "unknown_scope"}[scope]
    assert "verdict" not in told


async def test_a_refusal_is_told_to_members_and_hidden_from_others(company: Company) -> None:
    laptop, token = await company.signed_in("reporter")
    status, body = await laptop.token(token)
    assert (status, body["refusal"]["reason"]) == (403, "role")
    laptop, token = await company.signed_in("outsider")
    status, body = await laptop.token(token)
    assert (status, body["refusal"]["reason"], body["refusal"]["rule"]) == (403, None, None)
    assert body["refusal"]["id"] in body["error_description"]
    assert "member" not in body["error_description"]
    assert company.events()[-1]["reason"] == "not_a_member"


async def test_an_outsider_hears_the_same_of_every_name(company: Company) -> None:
    """A scope that is, one that is not, one that is denied, a wrong party, a session: no answer tells them apart."""
    laptop, token = await company.signed_in("outsider")
    await company.issuer.desk().act("deny", {"kind": "scope", "value": "release-publisher"})
    asked: list[dict[str, str]] = [
        {},
        {"scope": "no-such-scope"},
        {"scope": "release-publisher"},
        {"audience": "no-such-party"},
        {"scope": "no-such-scope", "audience": "no-such-party"},
    ]
    for form in asked:
        status, body = await laptop.token(token, **form)
        assert (status, body["error"], body["refusal"]["reason"]) == (403, "access_denied", None), form
        number = body["refusal"]["id"]
        assert body["error_description"] == f"refused, decision {number}; ask who runs the issuer"
    reasons = [event["reason"] for event in company.events()]
    assert reasons == ["not_a_member", "unknown_scope", "denied", "unknown_target", "unknown_scope"]
    names = ("invoice-archive-writer", "no-such-scope", "release-publisher")
    told = [(await laptop.token(token, scope=name, session="s1"))[1] for name in names]
    assert {(body["error"], body["refusal"]["reason"], body["error_description"]) for body in told} == {
        ("access_denied", "session_unknown", "there is no such session; run: juniper session list")
    }


@pytest.mark.parametrize("form", [{"scope": "no-such-scope"}, {"audience": "no-such-party"}])
async def test_a_late_gitlab_says_so_whatever_the_name(company: Company, form: dict[str, str]) -> None:
    laptop, token = await company.signed_in()
    company.gitlab.faults["projects/42/members/all/7"] = (502, {}, {})
    status, body = await laptop.token(token, **form)
    assert (status, body["error"]) == (503, "temporarily_unavailable")
    company.gitlab.faults = {"users": (502, {}, {})}
    company.issuer.gitlab.forget()
    status, body = await laptop.token(token, **form)
    assert (status, body["error"]) == (503, "temporarily_unavailable")


async def test_who_left_is_told_nothing_any_more(company: Company) -> None:
    laptop, token = await company.signed_in()
    company.gitlab.one["users/7"] = user(7, "developer", state="blocked")
    company.issuer.gitlab.forget()
    status, body = await laptop.token(token)
    assert (status, body["refusal"]["reason"]) == (403, None)
    company.gitlab.one["users/7"] = user(7, "developer")
    company.gitlab.one["projects/42/members/all/7"] = member(7, 30, expires_at="2026-01-01")
    company.issuer.gitlab.forget()
    status, body = await laptop.token(token)
    assert (status, body["refusal"]["reason"]) == (403, None)


async def test_a_change_in_gitlab_counts_within_a_minute(company: Company) -> None:
    laptop, token = await company.signed_in()
    assert (await laptop.token(token))[0] == 200
    del company.gitlab.one["projects/42/members/all/7"]
    company.clock.pass_(60)
    assert (await laptop.token(token))[0] == 403


async def test_a_pattern_without_a_selector_is_refused_with_the_choices(company: Company) -> None:
    file = company.folder / "policy" / "billing.toml"
    text = file.read_text().replace('environment = "staging"', 'environment = "review/*"', 1)
    file.write_text(text.replace('ref = "branch:main"', 'ref = "branch:feature/*"'))
    company.gitlab.many["projects/42/environments"] += [environment(f"review/{i}") for i in range(12)]
    company.issuer.reload()
    laptop, token = await company.signed_in()
    _, body = await laptop.token(token)
    assert body["refusal"]["reason"] == "environment_unselected"
    assert "that is review/0, review/1," in body["error_description"]
    assert "…; choose one with --environment NAME" in body["error_description"]
    _, body = await laptop.token(token, scope="release-publisher")
    assert "that is branch:feature/x; choose one with --ref NAME" in body["error_description"]
    assert (await laptop.token(token, environment="review/3"))[0] == 200


async def test_a_reload_takes_up_a_new_reader_token(company: Company) -> None:
    laptop, token = await company.signed_in()
    (company.folder / "gitlab.token").write_text("other")
    company.issuer.reload()
    assert (await laptop.token(token))[0] == 503
    (company.folder / "gitlab.token").write_text("reader")
    company.issuer.reload()
    assert (await laptop.token(token))[0] == 200


@pytest.mark.parametrize("query", ["", "?scope=a&scope=b", "?scope=a&project=1"])
async def test_explain_takes_its_own_parameters_alone(company: Company, query: str) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.call("GET", "/explain", token, query=query)
    assert (status, body["error"]) == (400, "invalid_request")
