"""Debugging sessions: what wakes a scope, for whom, and everything that ends it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from juniperd import model
from juniperd.issuer import sessions
from juniperd.model import rfc3339
from tests.issuer.doubles import NOW, Company, Laptop, Row, level, member, open_company, protected_environment

WRITER, SLEEPER, RELEASE = "invoice-archive-writer", "sleeping-writer", "release-publisher"
AGAIN = "run: juniper session open shop/billing --env staging"


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


async def opened(company: Company, who: str = "developer", **asked: Any) -> tuple[Laptop, str, Row]:
    """A laptop with a session open."""
    laptop, token = await company.signed_in(who)
    status, body = await laptop.open_session(token, **asked)
    assert status == 201, body
    return laptop, token, body


def claims_of(body: Row) -> Row:
    payload = body["access_token"].split(".")[1]
    found: Row = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return found


def reason(body: Row) -> str:
    return str(body["refusal"]["reason"])


# --- waking -----------------------------------------------------------------------------------------------------------


async def test_a_sleeping_scope_says_how_to_wake_it(company: Company) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.token(token, scope=SLEEPER)
    assert (status, reason(body)) == (403, "asleep")
    assert body["error_description"].endswith(AGAIN)
    assert company.events()[-1]["session"] is None


async def test_a_session_wakes_it_and_is_named_in_the_token_and_in_the_trail(company: Company) -> None:
    laptop, token, session = await opened(company, claimed_reason="invoices stuck", claimed_host="laptop-7")
    assert session == {
        "id": session["id"],
        "project": "shop/billing",
        "project_id": 42,
        "environment": "staging",
        "ref": None,
        "scopes": [WRITER, SLEEPER],
        "opened_at": int(NOW),
        "ends_at": int(NOW) + 3600,
        "here": True,
        "refused": [
            {
                "scope": RELEASE,
                "reason": "merge_only",
                "text": "merge only: you may merge into 'main' and not push to it; ask for push, or use a scope without a ref",
            }
        ],
    }
    for scope in (SLEEPER, WRITER):
        status, body = await laptop.token(token, scope=scope, session=session["id"])
        assert status == 200, body
        assert claims_of(body)["juniper_session"] == session["id"]
        assert company.events()[-1]["session"] == session["id"]
    (event,) = company.events("session_opened")
    assert (event["session"], event["user_id"], event["scopes"]) == (session["id"], 7, [WRITER, SLEEPER])
    assert (event["claimed_reason"], event["claimed_host"]) == ("invoices stuck", "laptop-7")
    assert event["refused"] == [{"scope": RELEASE, "rule": "3", "reason": "merge_only"}]
    assert event["ends_at"] == rfc3339(NOW + 3600)
    assert len(event["facts"]) > 5
    assert all(fact["age"] <= 60 for fact in event["facts"])


async def test_a_token_made_outside_names_no_session_while_one_is_open(company: Company) -> None:
    laptop, token, _ = await opened(company)
    status, body = await laptop.token(token, scope=WRITER)
    assert status == 200
    assert "juniper_session" not in claims_of(body)
    assert reason((await laptop.token(token, scope=SLEEPER))[1]) == "asleep"


async def test_explain_tells_sleep_from_the_rest(company: Company) -> None:
    laptop, token = await company.signed_in()
    _, body = await laptop.call("GET", "/explain", token, query=f"?scope={SLEEPER}")
    assert (body["reason"], body["rule"]) == ("asleep", "7")
    assert body["steps"][-1]["answered"] == "by a debugging session, and none is named"
    _, body = await laptop.call("GET", "/explain", token, query=f"?scope={WRITER}")
    assert body["steps"][-1]["answered"] == "by the sign-in"


async def test_scopes_may_be_named(company: Company) -> None:
    _, _, session = await opened(company, scopes=[SLEEPER, SLEEPER])
    assert (session["scopes"], session["refused"]) == ([SLEEPER], [])


async def test_a_scope_that_is_named_and_not_of_the_project_is_no_secret_and_no_session(company: Company) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.open_session(token, scopes=["no-such-scope"])
    assert (status, body["error"]) == (400, "invalid_scope")
    assert body["error_description"].startswith("there is no scope no-such-scope of shop/billing for laptops")
    assert company.events("session_opened") == []
    (event,) = company.events("session_refused")
    assert (event["reason"], event["refused"][0]["scope"]) == ("unknown_scope", "no-such-scope")


async def test_a_named_scope_of_another_environment_is_left_out_by_name(company: Company) -> None:
    _, _, session = await opened(company, scopes=[SLEEPER, "ledger-production-reader"])
    assert session["scopes"] == [SLEEPER]
    assert [row["reason"] for row in session["refused"]] == ["environment_mismatch"]


async def test_where_nothing_may_be_held_there_is_no_session_and_the_reason_is_told(company: Company) -> None:
    laptop, token = await company.signed_in("reporter")
    status, body = await laptop.open_session(token)
    assert (status, reason(body)) == (403, "role")
    assert company.events("session_opened") == []


@pytest.mark.parametrize("project", ["shop/billing", "shop/nothing-there"])
async def test_an_outsider_hears_the_same_of_every_project(company: Company, project: str) -> None:
    laptop, token = await company.signed_in("outsider")
    status, body = await laptop.open_session(token, project=project)
    assert (status, body["refusal"]["reason"]) == (403, None)
    assert body["error_description"] == f"refused, decision {body['refusal']['id']}; ask who runs the issuer"
    assert company.events("session_refused")[-1]["project"] == project


async def test_production_stays_shut_in_a_session_too(company: Company) -> None:
    laptop, token = await company.signed_in("maintainer")
    status, body = await laptop.open_session(token, environment="production")
    assert (status, reason(body)) == (403, "production")


async def test_an_environment_that_no_scope_names_is_said(company: Company) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.open_session(token, environment="moon")
    assert (status, body["error"], reason(body)) == (400, "invalid_scope", "unknown_scope")
    assert body["error_description"].startswith("no scope of shop/billing is for laptops and 'moon'")
    assert body["refusal"]["id"] == company.events("session_refused")[-1]["session"]


async def test_while_gitlab_is_late_nothing_is_opened(company: Company) -> None:
    laptop, token = await company.signed_in()
    company.gitlab.faults["projects/42/protected_environments"] = (503, {}, {"message": "busy"})
    status, body = await laptop.open_session(token)
    assert (status, body["error"]) == (503, "temporarily_unavailable")
    assert company.events("session_opened") == []


async def test_a_ref_narrows_the_session_and_what_is_minted_in_it(company: Company) -> None:
    laptop, token, session = await opened(company, "maintainer", ref="branch:main")
    assert session["scopes"] == [RELEASE]
    assert {row["reason"] for row in session["refused"]} == {"ref_not_selectable"}
    status, body = await laptop.token(token, scope=RELEASE, session=session["id"])
    assert status == 200
    assert claims_of(body)["ref_path"] == "refs/heads/main"


# --- what a session does not do ---------------------------------------------------------------------------------------


async def test_a_mint_in_a_session_is_judged_like_any_other(company: Company) -> None:
    laptop, token, session = await opened(company)
    company.gitlab.one["projects/42/members/all/7"] = member(7, 20)
    company.clock.pass_(61)
    status, body = await laptop.token(company.idp.token(auth_time=int(NOW) - 5), scope=SLEEPER, session=session["id"])
    assert (status, reason(body)) == (403, "role")
    assert company.events()[-1]["session"] == session["id"]
    assert token


async def test_a_scope_that_the_session_was_not_opened_for_stays_asleep(company: Company) -> None:
    laptop, token, session = await opened(company, scopes=[WRITER])
    for scope in (SLEEPER, "no-such-scope"):
        status, body = await laptop.token(token, scope=scope, session=session["id"])
        assert (status, reason(body)) == (403, "session_scope")
        assert body["error_description"] == f"the session is for {WRITER}; {AGAIN} --scope {scope}"


async def test_another_laptop_of_the_same_person_does_not_use_it(company: Company) -> None:
    _, _, session = await opened(company)
    other = company.laptop()
    token = company.idp.token(sid="s-two", auth_time=int(NOW) - 4)
    assert (await other.sign_in(token))[0] == 201
    status, body = await other.token(token, scope=SLEEPER, session=session["id"])
    assert (status, reason(body)) == (403, "session_elsewhere")
    status, body = await other.call("PATCH", f"/sessions/{session['id']}", token, body={"seconds": 60})
    assert (status, reason(body)) == (403, "session_elsewhere")


@pytest.mark.parametrize("scope", [SLEEPER, "no-such-scope"])
async def test_somebody_elses_session_is_none(company: Company, scope: str) -> None:
    _, _, session = await opened(company)
    thief, token = await company.signed_in("maintainer")
    for number in (session["id"], "0" * 24, "' OR 1=1 --"):
        status, body = await thief.token(token, scope=scope, session=number)
        assert (status, reason(body)) == (403, "session_unknown")
    for method, asked in (("PATCH", {"seconds": 60}), ("DELETE", None)):
        status, body = await thief.call(method, f"/sessions/{session['id']}", token, body=asked)
        assert (status, reason(body)) == (403, "session_unknown")
    assert (await thief.call("GET", "/sessions", token))[1] == {"sessions": []}
    assert company.events("session_ended") == []


@pytest.mark.parametrize("selected", [{"environment": "production"}, {"ref": "branch:main"}])
async def test_a_request_within_a_session_selects_nothing_else(company: Company, selected: Row) -> None:
    laptop, token, session = await opened(company)
    status, body = await laptop.token(token, scope=SLEEPER, session=session["id"], **selected)
    assert (status, reason(body)) == (403, "session_narrow")
    status, _ = await laptop.token(token, scope=SLEEPER, session=session["id"], environment="staging")
    assert status == 200


async def test_a_name_that_policy_gave_to_another_project_is_not_woken(company: Company) -> None:
    laptop, token, session = await opened(company)
    path = company.folder / "policy" / "billing.toml"
    head, sleeping = path.read_text().split("[scope.sleeping-writer]")
    path.write_text(f"{head}[scope.sleeping-writer]{sleeping.replace('project_id = 42', 'project_id = 43')}")
    await company.issuer.desk().act("reload", {})
    status, body = await laptop.token(token, scope=SLEEPER, session=session["id"])
    assert (status, reason(body)) == (403, "session_scope")


# --- ends -------------------------------------------------------------------------------------------------------------


async def test_it_ends_by_the_issuers_clock_swept_or_not(company: Company) -> None:
    laptop, _, session = await opened(company, seconds=600)
    company.clock.pass_(600)
    token = company.idp.token(auth_time=int(NOW) - 5)
    status, body = await laptop.token(token, scope=SLEEPER, session=session["id"])
    assert (status, reason(body)) == (403, "session_ended")
    assert body["error_description"] == f"the session has ended; {AGAIN}"
    assert (await laptop.call("GET", "/sessions", token))[1] == {"sessions": []}
    company.clock.pass_(50)
    await company.issuer.sweep.once()
    (event,) = company.events("session_ended")
    assert (event["session"], event["cause"], event["user_id"]) == (session["id"], "time", 7)
    assert (event["ended_at"], event["time"]) == (rfc3339(NOW + 600), rfc3339(NOW + 650))


async def test_it_never_outlasts_the_sign_in(company: Company) -> None:
    laptop, token = await company.signed_in()
    company.clock.pass_(300)
    status, body = await laptop.open_session(token, seconds=12 * 3600)
    assert (status, body["ends_at"]) == (201, int(NOW) - 5 + 12 * 3600)
    status, body = await laptop.call("PATCH", f"/sessions/{body['id']}", token, body={"seconds": 60})
    assert (status, reason(body)) == (403, "session_longest")


async def test_extending_is_an_act_that_moves_the_end_and_is_written_down(company: Company) -> None:
    laptop, token, session = await opened(company, seconds=600)
    status, body = await laptop.call("PATCH", f"/sessions/{session['id']}", token, body={"seconds": 900})
    assert (status, body["ends_at"]) == (200, int(NOW) + 1500)
    (event,) = company.events("session_extended")
    assert (event["session"], event["ends_at"]) == (session["id"], rfc3339(NOW + 1500))
    company.clock.pass_(1499)
    fresh = company.idp.token(auth_time=int(NOW) - 5)
    assert (await laptop.token(fresh, scope=SLEEPER, session=session["id"]))[0] == 200
    company.clock.pass_(1)
    status, body = await laptop.call("PATCH", f"/sessions/{session['id']}", fresh, body={"seconds": 900})
    assert (status, reason(body)) == (403, "session_ended")


async def test_it_lasts_twelve_hours_at_most_however_often_it_is_extended(tmp_path: Path) -> None:
    def longer(folder: Path) -> None:
        path = folder / "issuer.toml"
        path.write_text(path.read_text().replace('state = "state"', 'state = "state"\nsign_in_max_age = "30h"'))

    async with open_company(tmp_path, change=longer) as company:
        laptop, token, session = await opened(company, seconds=12 * 3600 - 60)
        status, body = await laptop.call("PATCH", f"/sessions/{session['id']}", token, body={"seconds": 3600})
        assert (status, body["ends_at"]) == (200, int(NOW) + 12 * 3600)


async def test_closing_ends_it_from_any_laptop_of_the_person(company: Company) -> None:
    laptop, token, session = await opened(company)
    other = company.laptop()
    theirs = company.idp.token(sid="s-two", auth_time=int(NOW) - 4)
    assert (await other.sign_in(theirs))[0] == 201
    (row,) = (await other.call("GET", "/sessions", theirs))[1]["sessions"]
    assert (row["id"], row["here"]) == (session["id"], False)
    for _ in range(2):
        assert (await other.call("DELETE", f"/sessions/{session['id']}", theirs))[0] == 204
    (event,) = company.events("session_ended")
    assert event["cause"] == "closed"
    assert reason((await laptop.token(token, scope=SLEEPER, session=session["id"]))[1]) == "session_ended"


async def test_it_ends_with_the_sign_in(company: Company) -> None:
    laptop, token, session = await opened(company)
    assert (await laptop.call("DELETE", "/sign-ins", token))[0] == 204
    (event,) = company.events("session_ended")
    assert (event["session"], event["cause"]) == (session["id"], "signed_out")
    company.clock.pass_(10)
    again = company.idp.token(auth_time=int(company.clock()) - 1)
    assert (await laptop.sign_in(again))[0] == 201
    assert reason((await laptop.token(again, scope=SLEEPER, session=session["id"]))[1]) == "session_ended"


@pytest.mark.parametrize(
    ("verb", "params", "cause"),
    [
        ("deny", {"kind": "user", "value": "7"}, "denied"),
        ("link_remove", {"user_id": 7}, "unlinked"),
        ("pins_free", {"user_id": 7}, "freed"),
    ],
)
async def test_an_administrator_ends_it(company: Company, verb: str, params: Row, cause: str) -> None:
    _, _, session = await opened(company)
    await opened(company, "maintainer")
    await company.issuer.desk().act(verb, params)
    (event,) = company.events("session_ended")
    assert (event["session"], event["cause"]) == (session["id"], cause)


async def test_a_restart_keeps_what_is_open_and_sweeps_what_is_not(tmp_path: Path) -> None:
    async with open_company(tmp_path) as before:
        _, _, short = await opened(before, seconds=60)
    async with open_company(tmp_path) as after:
        after.clock.pass_(61)
        await after.issuer.sweep.once()
        await after.issuer.sweep.once()
        (event,) = after.events("session_ended")
        assert (event["session"], event["cause"]) == (short["id"], "time")


async def test_a_session_of_long_ago_is_forgotten_and_stays_in_the_trail(company: Company) -> None:
    _, _, session = await opened(company, seconds=60)
    company.clock.pass_(61)
    await company.issuer.sweep.once()
    company.clock.pass_(sessions.REMEMBERED + 1)
    laptop = company.laptop()
    token = company.idp.token()
    assert (await laptop.sign_in(token))[0] == 201
    assert (await laptop.open_session(token))[0] == 201
    ids = company.issuer.state.read(lambda c: [row[0] for row in c.execute("SELECT id FROM sessions")])
    assert session["id"] not in ids
    assert company.events("session_opened")[0]["session"] == session["id"]


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"project": None}, "project must be one line of text"),
        ({"environment": "a\nb"}, "environment must be one line of text"),
        ({"ref": ""}, "ref must be one line of text"),
        ({"claimed_reason": "x" * 513}, "claimed_reason must be one line of text"),
        ({"seconds": 0}, "seconds must be a whole number"),
        ({"seconds": 43201}, "seconds must be a whole number"),
        ({"seconds": True}, "seconds must be a whole number"),
        ({"seconds": 1.5}, "seconds must be a whole number"),
        ({"scopes": "a"}, "scopes must be a list"),
        ({"scopes": ["a"] * 51}, "scopes must be a list"),
        ({"scopes": ["A B"]}, "a scope's name is"),
        ({"force": "yes"}, "unknown parameter 'force'"),
    ],
)
async def test_a_bad_member_is_named(company: Company, change: Row, said: str) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.open_session(token, **change)
    assert (status, body["error"]) == (400, "invalid_request")
    assert body["error_description"].startswith(said)
    assert "; " in body["error_description"] or "unknown" in said


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 20000, b"\xff"])
async def test_a_body_that_is_no_object_is_refused(company: Company, body: bytes) -> None:
    laptop, token = await company.signed_in()
    status, answer = await laptop.call("POST", "/sessions", token, body=body)
    assert (status, answer["error_description"]) == (400, "the body must be one JSON object")


async def test_nobody_opens_more_than_a_few(company: Company) -> None:
    laptop, token = await company.signed_in()
    for _ in range(sessions.MOST_OPEN):
        assert (await laptop.open_session(token))[0] == 201
    status, body = await laptop.open_session(token)
    assert (status, reason(body)) == (403, "session_many")
    assert body["error_description"].endswith("juniper session list")


async def test_without_a_pinned_and_young_sign_in_sessions_are_shut(company: Company) -> None:
    stranger = company.laptop()
    token = company.idp.token()
    assert reason((await stranger.open_session(token))[1]) == "not_pinned"
    assert reason((await stranger.call("GET", "/sessions", token))[1]) == "not_pinned"
    laptop, _ = await company.signed_in()
    old = company.idp.token(auth_time=int(NOW) - 13 * 3600)
    assert reason((await laptop.open_session(old))[1]) == "sign_in_old"


async def test_a_denied_person_opens_nothing(company: Company) -> None:
    laptop, token = await company.signed_in()
    await company.issuer.desk().act("deny", {"kind": "user", "value": "7"})
    status, body = await laptop.open_session(token)
    assert (status, reason(body)) == (403, "denied")


async def test_protection_that_comes_later_counts_at_the_mint(company: Company) -> None:
    laptop, _, session = await opened(company)
    company.gitlab.many["projects/42/protected_environments"] = [protected_environment("staging", [level(40)])]
    company.clock.pass_(61)
    token = company.idp.token(auth_time=int(NOW) - 5)
    status, body = await laptop.token(token, scope=SLEEPER, session=session["id"])
    assert (status, reason(body)) == (403, "environment_protected")


async def test_each_identity_has_its_own_longest_sign_in(tmp_path: Path) -> None:
    async with open_company(tmp_path, extra='sign_in_max_age = "2h"') as company:
        laptop, token, session = await opened(company, seconds=12 * 3600)
        assert session["ends_at"] == int(NOW) - 5 + 2 * 3600
        status, body = await laptop.sign_in(company.idp.token(auth_time=int(NOW) - 3 * 3600, sid="s-old"))
        assert (status, reason(body)) == (400, "sign_in_old")
        assert body["error_description"].startswith("the sign-in is older than 2 h; ")
        async with company.session.get(company.wire + "/.well-known/juniper") as answer:
            document = await answer.json()
        assert (document["identities"][0]["sign_in_max_age"], document["sign_in_max_age"]) == (7200, 7200)
        assert token


async def test_every_no_has_a_record_by_the_id_that_is_told(company: Company) -> None:
    laptop, token, session = await opened(company)
    thief, other = await company.signed_in("maintainer")
    answers = [await thief.call("DELETE", f"/sessions/{session['id']}", other)]
    answers.append(await thief.call("PATCH", f"/sessions/{session['id']}", other, body={"seconds": 60}))
    company.gitlab.faults["projects/42/protected_environments"] = (503, {}, {"message": "busy"})
    company.clock.pass_(61)
    late = company.idp.token("maintainer", auth_time=int(NOW) - 5)
    answers.append(await thief.open_session(late))
    assert (await laptop.call("DELETE", "/sign-ins", token))[0] == 204
    answers.append(await laptop.open_session(company.idp.token(auth_time=int(NOW) - 5)))
    answers.append(await laptop.call("GET", "/sessions", company.idp.token(auth_time=int(NOW) - 5)))
    told = [body["refusal"]["id"] for _, body in answers]
    assert [event["id"] for event in company.events("session_refused")] == told
    reasons = [event["reason"] for event in company.events("session_refused")]
    assert reasons == ["session_unknown", "session_unknown", "gitlab_unreachable", "not_pinned", "not_pinned"]


async def test_closing_what_has_run_out_says_that_its_time_was_over(company: Company) -> None:
    laptop, _, session = await opened(company, seconds=60)
    company.clock.pass_(61)
    token = company.idp.token(auth_time=int(NOW) - 5)
    assert (await laptop.call("DELETE", f"/sessions/{session['id']}", token))[0] == 204
    (event,) = company.events("session_ended")
    assert (event["cause"], event["ended_at"]) == ("time", rfc3339(NOW + 60))


def test_what_opens_another_one_can_be_pasted_into_a_shell() -> None:
    place = "review/$x y"
    theirs = sessions.Session("s", "okta", "u", "t", 7, 42, "shop/billing", place, None, (), 0.0, 1.0)
    mine = model.Session("s", "team", "shop/billing", place, None, (), 1.0)
    assert theirs.again == mine.again == "run: juniper session open shop/billing --env 'review/$x y'"
