"""``GET /parity``: both sides to whoever is entitled, an id to everybody else, and nothing where GitLab is late."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.issuer.doubles import POLICY, Company, Row, environment, member, open_company, protected_environment

SCOPE = "invoice-archive-writer"
PATTERN = """
[scope.review-app-debugger]
about = "Look into review apps"
project = "shop/billing"
project_id = 42
environment = "review/*"
ref = "branch:feature/*"
origins = ["pipeline", "laptop"]
access = "read"
[scope.review-app-debugger.aws]
relying_party = "aws-staging"
role_arn = "arn:aws:iam::111122223333:role/review-app-debugger"
region = "eu-west-1"

[scope.night-shift-reader]
about = "What only a schedule's jobs hold"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["pipeline", "laptop"]
sources = ["schedule"]
access = "read"
[scope.night-shift-reader.aws]
relying_party = "aws-staging"
role_arn = "arn:aws:iam::111122223333:role/night-shift-reader"
region = "eu-west-1"
"""


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    def change(folder: Path) -> None:
        (folder / "policy" / "billing.toml").write_text(POLICY + PATTERN)

    async with open_company(tmp_path, change=change) as opened:
        opened.gitlab.one["version"] = {"version": "18.5.0-ee"}
        opened.gitlab.many["projects/42/environments"].append(environment("review/42", "development"))
        yield opened


async def compared(company: Company, who: str = "developer", **query: str) -> tuple[int, Row]:
    """What this person is answered, who signs in anew for each question."""
    laptop, token = company.laptop(), company.idp.token(who, sid=f"s-{next(company.numbers)}")
    assert (await laptop.sign_in(token))[0] == 201
    return await laptop.call("GET", "/parity", token, query=f"?{urlencode({'scope': SCOPE, **query})}")


async def test_both_sides_claim_by_claim_and_nothing_is_decided(company: Company) -> None:
    status, body = await compared(company)
    assert status == 200
    assert (body["within"], body["verdict"]) == (True, "the laptop is within the job")
    assert (body["gitlab"], body["ref"], body["environment"]) == ("18.5.0-ee", None, "staging")
    assert (body["job"]["holds"], body["job"]["source"], body["laptop"]["holds"]) == (True, "push", True)
    rows = {row["claim"]: row for row in body["rows"]}
    assert rows["sub"]["job"] == f"scope:{SCOPE}:origin:pipeline:project_id:42"
    assert rows["sub"]["laptop"] == f"scope:{SCOPE}:origin:laptop:project_id:42"
    assert rows["aud"] == {
        "target": "aws-staging",
        "claim": "aud",
        "job": "juniper:aws:111122223333",
        "laptop": "juniper:aws:111122223333",
        "why": "",
        "right": True,
    }
    assert company.events() == []
    (event,) = company.events("parity")
    assert (event["id"], event["within"], event["job"], event["laptop"]) == (body["id"], True, "holds", "holds")


async def test_a_sleeping_scope_is_compared_as_if_a_session_were_open(company: Company) -> None:
    _, body = await compared(company, scope="sleeping-writer")
    assert (body["laptop"]["holds"], body["job"]["reason"], body["within"]) == (True, "origin", False)
    rows = {row["claim"]: row for row in body["rows"]}
    assert rows["juniper_session"]["laptop"] == "…"


async def test_a_ref_that_one_may_only_merge_to_is_for_neither(company: Company) -> None:
    _, body = await compared(company, scope="release-publisher")
    assert (body["ref"], body["within"]) == ("branch:main", True)
    assert (body["job"]["reason"], body["laptop"]["reason"]) == ("gitlab_push", "merge_only")
    assert body["rows"] == []
    assert body["verdict"] == "neither holds anything: the laptop is within the job"


async def test_a_job_is_started_as_the_scope_takes_it(company: Company) -> None:
    _, body = await compared(company, scope="night-shift-reader")
    assert (body["job"]["source"], body["within"]) == ("schedule", True)


async def test_whoever_may_not_know_hears_an_id_of_a_hidden_scope_as_of_none(company: Company) -> None:
    for who in ("outsider", "developer"):
        answers = [await compared(company, who, scope="no-such-scope")]
        if who == "outsider":
            answers.append(await compared(company, who))
        for status, body in answers:
            assert status == 200
            assert body == {"id": body["id"], "within": True, "laptop": {"holds": False}}
    hidden = [event for event in company.events("parity") if event["scope"] == SCOPE]
    assert [(event["subject"], event["within"], event["job"]) for event in hidden] == [("u-outsider", None, None)]
    # What they are not told the trail has.
    assert [event["laptop"] for event in hidden] == ["not_a_member"]
    assert {event["laptop"] for event in company.events("parity") if event["scope"] == "no-such-scope"} == {
        "unknown_scope"
    }


async def test_a_reporter_may_know_and_a_guest_may_not(company: Company) -> None:
    _, body = await compared(company, "reporter")
    assert (body["job"]["reason"], body["laptop"]["reason"]) == ("gitlab_create_pipeline", "role")
    company.gitlab.one["projects/42/members/all/9"] = member(9, 10)
    company.clock.pass_(61)
    assert "rows" not in (await compared(company, "reporter"))[1]


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("users/7", SCOPE),
        ("projects/42", SCOPE),
        ("projects/42/members/all/7", SCOPE),
        ("projects/42/protected_environments", SCOPE),
        ("projects/42/members/all/7", "no-such-scope"),
    ],
)
async def test_a_late_gitlab_is_no_answer(company: Company, path: str, scope: str) -> None:
    laptop, token = await company.signed_in()
    company.clock.pass_(61)
    company.gitlab.faults[path] = (502, {}, {})
    status, body = await laptop.call("GET", "/parity", token, query=f"?scope={scope}")
    assert (status, body["error"]) == (503, "temporarily_unavailable")
    assert all(event["within"] is None for event in company.events("parity")), "nobody heard what either holds"


@pytest.mark.parametrize(("kind", "value"), [("user", "7"), ("scope", SCOPE), ("all", "")])
async def test_what_is_denied_is_denied_to_both(company: Company, kind: str, value: str) -> None:
    await company.issuer.desk().act("deny", {"kind": kind, "value": value})
    _, body = await compared(company)
    assert (body["job"]["holds"], body["laptop"]["holds"]) == (False, False)
    assert (body["job"]["reason"], body["laptop"]["reason"]) == ("denied", "denied")
    assert (body["within"], body["rows"]) == (True, [])


@pytest.mark.parametrize(
    ("chosen", "reason", "within"),
    [
        ({"job_environment": "production"}, "gitlab_deploy", False),
        ({"job_environment": "review/42"}, "environment_mismatch", False),
        ({"job_ref": "branch:main"}, "gitlab_push", False),
        ({"job_ref": "branch:feature/x"}, None, True),
        ({"job_ref": "tag:v1.0"}, None, True),
        ({"job_environment": "no-such-place"}, "gitlab_environment", False),
    ],
)
async def test_environment_and_ref_choose_the_job(
    company: Company, chosen: dict[str, str], reason: str | None, *, within: bool
) -> None:
    _, body = await compared(company, **chosen)
    assert (body["laptop"]["holds"], body["job"]["reason"], body["within"]) == (True, reason, within)


async def test_where_the_scope_is_a_pattern_the_laptop_selects_what_the_job_has(company: Company) -> None:
    asked = {"scope": "review-app-debugger", "job_environment": "review/42", "job_ref": "branch:feature/x"}
    _, body = await compared(company, **asked)
    assert (body["environment"], body["ref"], body["within"]) == ("review/42", "branch:feature/x", True)
    assert body["laptop"]["holds"]
    rows: dict[str, Any] = {row["claim"]: (row["job"], row["laptop"]) for row in body["rows"]}
    assert rows["environment"] == ("review/42", "review/42")
    assert rows["ref_path"] == ("refs/heads/feature/x",) * 2
    selected = {"scope": "review-app-debugger", "environment": "review/42", "ref": "branch:feature/x"}
    assert (await compared(company, **selected))[1]["within"]
    _, unselected = await compared(company, scope="review-app-debugger")
    assert (unselected["laptop"]["reason"], unselected["job"]["reason"]) == ("ref_unselected", "ref_unselected")
    _, half = await compared(company, scope="review-app-debugger", ref="branch:feature/x")
    assert (half["job"]["reason"], half["job"]["text"]) == ("environment_unselected", half["laptop"]["text"])
    assert "that is review/42; choose one with --environment NAME" in half["job"]["text"]


async def test_an_approval_stops_both(company: Company) -> None:
    protected = company.gitlab.many["projects/42/protected_environments"]
    protected[0] = protected_environment("staging", protected[0]["deploy_access_levels"], approvals=1)
    _, body = await compared(company)
    assert (body["job"]["reason"], body["laptop"]["holds"], body["within"]) == ("gitlab_approvals", False, True)


async def test_a_release_whose_rules_nobody_has_read_yet_proves_nothing(company: Company) -> None:
    company.gitlab.one["version"] = {"version": "20.0.0"}
    _, body = await compared(company)
    assert (body["gitlab"], body["job"]["reason"], body["within"]) == ("20.0.0", "gitlab_release", False)


async def test_only_what_is_asked_for_by_name(company: Company) -> None:
    for query in ({"job": "deploy"}, {"session": "s"}):
        status, body = await compared(company, **query)
        assert (status, body["error"]) == (400, "invalid_request")
    laptop, token = await company.signed_in()
    assert (await laptop.call("GET", "/parity", token))[1]["error_description"].startswith("scope is missing")
