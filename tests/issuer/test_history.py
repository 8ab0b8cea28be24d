"""``GET /log``: a person's own events, in bounds, and not a word that they were not told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from juniperd.issuer import audit
from juniperd.issuer.history import LONGEST, MOST
from tests.issuer.doubles import Company, Laptop, open_company

DAY = "?seconds=86400"
Row = dict[str, Any]


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


async def log(laptop: Laptop, token: str, query: str = DAY) -> list[Row]:
    status, body = await laptop.call("GET", "/log", token, query=query)
    assert status == 200, body
    events: list[Row] = body["events"]
    return events


async def add(company: Company, count: int, **fields: object) -> None:
    """Decisions in the trail as the endpoint writes them."""
    record = {"identity": "okta", "subject": "u-developer", "verdict": "permitted", **fields}
    at = company.clock()

    def work(connection: Any) -> None:
        for number in range(count):
            audit.append(connection, "decision", at=at, fields={**record, "scope": f"scope-{number}"})

    await company.issuer.state.write(work)


async def test_it_shows_mints_refusals_and_sessions_and_nothing_else_of_them(company: Company) -> None:
    laptop, token = await company.signed_in()
    assert (await laptop.token(token, claimed_program="/usr/bin/aws"))[0] == 200
    assert (await laptop.token(token, scope="release-publisher"))[0] == 403
    _, opened = await laptop.open_session(token, claimed_reason="invoices stuck")
    assert (await laptop.call("DELETE", f"/sessions/{opened['id']}", token))[0] == 204
    minted, refused, begun, ended = await log(laptop, token)
    assert minted.keys() == {"time", "event", "id", "verdict", "scope", "relying_party"}
    assert (minted["verdict"], minted["scope"]) == ("permitted", "invoice-archive-writer")
    assert minted["relying_party"] == "aws-staging"
    assert (refused["verdict"], refused["scope"], refused["reason"]) == ("refused", "release-publisher", "merge_only")
    assert begun.keys() == {"time", "event", "session", "project", "environment", "scopes", "ends_at"}
    assert (begun["session"], begun["project"], begun["environment"]) == (opened["id"], "shop/billing", "staging")
    assert ended.keys() == {"time", "event", "session", "ended_at", "cause"}
    assert (ended["event"], ended["session"], ended["cause"]) == ("session_ended", opened["id"], "closed")


async def test_nobody_reads_what_others_did(company: Company) -> None:
    mine, my_token = await company.signed_in()
    theirs, their_token = await company.signed_in("maintainer")
    assert (await mine.token(my_token))[0] == 200
    await mine.open_session(my_token)
    assert await log(theirs, their_token) == []
    assert (await theirs.token(their_token))[0] == 200
    (only,) = await log(theirs, their_token)
    assert only["id"] == company.events()[-1]["id"]
    assert [event["event"] for event in await log(mine, my_token)] == ["decision", "session_opened"]


@pytest.mark.parametrize(
    ("identity", "subject"),
    [
        ("other", "u-developer"),
        ("okta", "u-developer2"),
        ("okta", "U-DEVELOPER"),
        ("okta", "u-%"),
        ("okta", ["u-developer"]),
    ],
)
async def test_identity_and_subject_both_are_compared_whole(company: Company, identity: str, subject: object) -> None:
    laptop, token = await company.signed_in()
    await add(company, 1, identity=identity, subject=subject)
    assert await log(laptop, token) == []


async def test_who_may_not_know_a_scope_reads_refused_and_an_id(company: Company) -> None:
    """A scope that is and one that is not look the same, though the trail knows more of the one."""
    laptop, token = await company.signed_in("outsider")
    for scope in ("invoice-archive-writer", "no-such-scope"):
        assert (await laptop.token(token, scope=scope))[0] == 403
    events = await log(laptop, token)
    assert [event["reason"] for event in company.events()] == ["not_a_member", "unknown_scope"]
    assert [event.keys() for event in events] == [{"time", "event", "id", "verdict", "scope"}] * 2
    assert (await laptop.open_session(token))[0] == 403
    assert (await log(laptop, token))[-1].keys() == {"time", "event", "id", "session", "project", "environment"} - {
        "id"
    }


async def test_a_record_that_does_not_say_what_was_told_tells_no_reason(company: Company) -> None:
    laptop, token = await company.signed_in()
    await add(company, 1, verdict="refused", reason="role", relying_party="aws-staging")
    (old,) = await log(laptop, token)
    assert old.keys() == {"time", "event", "verdict", "scope"}


async def test_it_is_the_last_two_hundred_and_says_that_there_are_more(company: Company) -> None:
    laptop, token = await company.signed_in()
    await add(company, MOST)
    _, body = await laptop.call("GET", "/log", token, query=DAY)
    assert (len(body["events"]), body["more"]) == (MOST, False)
    await add(company, 1)
    _, body = await laptop.call("GET", "/log", token, query=DAY)
    assert (len(body["events"]), body["more"]) == (MOST, True)
    assert body["events"][-1]["scope"] == "scope-0"
    assert body["events"][0]["scope"] == "scope-1"


async def test_it_goes_back_as_far_as_asked_and_no_further(company: Company) -> None:
    laptop, token = await company.signed_in()
    await add(company, 1)
    company.clock.pass_(100)
    assert len(await log(laptop, token, "?seconds=101")) == 1
    assert await log(laptop, token, "?seconds=99") == []


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?seconds=",
        "?seconds=0",
        "?seconds=-1",
        "?seconds=1.5",
        "?seconds=1e3",
        "?seconds=٣",
        "?seconds=1%0A",
        f"?seconds={LONGEST + 1}",
        f"?seconds={'9' * 4000}",
        "?seconds=1&seconds=2",
        "?seconds=1&subject=u-maintainer",
        "?seconds=1&identity=okta",
        "?seconds=1&user_id=8",
    ],
)
async def test_parameters_that_are_none_are_refused(company: Company, query: str) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.call("GET", "/log", token, query=query)
    assert (status, body["error"]) == (400, "invalid_request")


async def test_who_is_refused_elsewhere_is_refused_here(company: Company) -> None:
    laptop, token = await company.signed_in()
    await laptop.token(token)
    stranger = company.laptop()
    status, body = await stranger.call("GET", "/log", token, query=DAY)
    assert (status, body["refusal"]["reason"]) == (400, "not_pinned")
    await company.issuer.desk().act("deny", {"kind": "user", "value": "7"})
    status, body = await laptop.call("GET", "/log", token, query=DAY)
    assert (status, body["refusal"]["reason"]) == (403, None)
    await company.issuer.desk().act("undeny", {"kind": "user", "value": "7"})
    company.gitlab.one["users/7"]["state"] = "blocked"
    company.clock.pass_(61)
    status, body = await laptop.call("GET", "/log", company.idp.token(auth_time=int(company.clock()) - 66), query=DAY)
    assert (status, body["error"]) == (403, "access_denied")


async def test_it_takes_a_proof_of_its_own(company: Company) -> None:
    laptop, token = await company.signed_in()
    url = company.wire + "/log" + DAY
    for headers in (
        {},
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"DPoP {token}", "DPoP": laptop.proof("GET", "/sessions", access_token=token)},
        {"Authorization": f"DPoP {token}", "DPoP": laptop.proof("POST", "/log", access_token=token)},
    ):
        async with company.session.get(url, headers=headers) as answer:
            assert answer.status == 401


async def test_an_administrators_end_of_a_session_gives_no_cause(company: Company) -> None:
    laptop, token = await company.signed_in()
    await laptop.open_session(token)
    await company.issuer.desk().act("deny", {"kind": "user", "value": "7"})
    await company.issuer.desk().act("undeny", {"kind": "user", "value": "7"})
    ended = (await log(laptop, token))[-1]
    assert (ended["event"], "cause" in ended) == ("session_ended", False)


async def test_an_index_finds_them(company: Company) -> None:
    def plan(connection: Any) -> list[str]:
        seen: list[str] = []
        connection.set_trace_callback(seen.append)
        list(audit.of_person(connection, "okta", "u-developer", most=5))
        connection.set_trace_callback(None)
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {seen[-1]}")]

    steps = company.issuer.state.read(plan)
    assert len(steps) == 1
    assert "USING INDEX audit_of" in steps[0]
