"""What changes while GitLab is asked counts: a token is issued under what holds when it is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.issuer.doubles import Company, Gitlab, Row, open_company
from tests.issuer.doubles import company as shop
from tests.issuer.jobs import Pipelines, open_pipelines

if TYPE_CHECKING:
    from aiohttp import web


class Slow(Gitlab):
    """Holds its answer on one thing back until told."""

    def __init__(self, held: str = "protected_environments") -> None:
        usual = shop()
        super().__init__(one=usual.one, many=usual.many)
        self.held = held
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.Response:
        if request.match_info["path"].endswith(self.held):
            self.reached.set()
            await self.go_on.wait()
        return await super()._answer(request)


@pytest.fixture
async def slow() -> Slow:
    return Slow()


@pytest.fixture
async def company(tmp_path: Path, slow: Slow) -> AsyncIterator[Company]:
    async with open_company(tmp_path, gitlab=slow) as opened:
        yield opened


async def answered(company: Company, slow: Slow, meanwhile: Callable[[], Awaitable[object]]) -> tuple[int, Row]:
    """The answer of a request under way while something else is done."""
    laptop, token = await company.signed_in("developer")
    asking = asyncio.create_task(laptop.token(token))
    async with asyncio.timeout(20):
        await slow.reached.wait()
        await meanwhile()
        slow.go_on.set()
        return await asking


async def test_a_scope_taken_away_meanwhile_is_not_issued(company: Company, slow: Slow) -> None:
    path = company.folder / "policy" / "billing.toml"
    path.write_text(path.read_text().replace('origins = ["pipeline", "laptop"]', 'origins = ["pipeline"]'))
    status, body = await answered(company, slow, lambda: company.issuer.desk().act("reload", {}))
    assert (status, body["error"], body["refusal"]["reason"]) == (503, "temporarily_unavailable", "policy_changed")
    assert body["error_description"] == "the policy was changed meanwhile; try again"
    (event,) = company.events()
    assert (event["verdict"], event["reason"]) == ("refused", "policy_changed")


async def test_a_key_freed_meanwhile_gets_nothing(company: Company, slow: Slow) -> None:
    status, body = await answered(company, slow, lambda: company.issuer.desk().act("pins_free", {"user_id": 7}))
    assert (status, body["refusal"]["reason"]) == (400, "not_pinned")


async def test_a_denial_written_meanwhile_counts(company: Company, slow: Slow) -> None:
    denial = {"kind": "user", "value": "7"}
    status, body = await answered(company, slow, lambda: company.issuer.desk().act("deny", denial))
    assert (status, body["refusal"]["reason"]) == (403, "denied")
    assert "jti" not in company.events()[0]


async def test_a_session_closed_meanwhile_wakes_nothing(company: Company, slow: Slow) -> None:
    slow.go_on.set()
    laptop, token = await company.signed_in()
    _, session = await laptop.open_session(token)
    await company.issuer.desk().act("reload", {})
    slow.reached.clear()
    slow.go_on.clear()
    asking = asyncio.create_task(laptop.token(token, scope="sleeping-writer", session=session["id"]))
    async with asyncio.timeout(20):
        await slow.reached.wait()
        assert (await laptop.call("DELETE", f"/sessions/{session['id']}", token))[0] == 204
        slow.go_on.set()
        status, body = await asking
    assert (status, body["refusal"]["reason"]) == (403, "session_ended")


async def test_a_person_denied_while_a_session_is_opened_gets_none(company: Company, slow: Slow) -> None:
    laptop, token = await company.signed_in()
    opening = asyncio.create_task(laptop.open_session(token))
    async with asyncio.timeout(20):
        await slow.reached.wait()
        await company.issuer.desk().act("deny", {"kind": "user", "value": "7"})
        slow.go_on.set()
        status, body = await opening
    assert (status, body["refusal"]["reason"]) == (403, "denied")
    assert company.events("session_opened") == []


# --- the same of a job ------------------------------------------------------------------------------------------------


@pytest.fixture
async def held() -> Slow:
    return Slow("members/all/8")


@pytest.fixture
async def pipelines(tmp_path: Path, held: Slow) -> AsyncIterator[Pipelines]:
    async with open_pipelines(tmp_path, gitlab=held) as opened:
        yield opened


async def of_job(pipelines: Pipelines, held: Slow, meanwhile: Callable[[], Awaitable[object]]) -> tuple[int, Row]:
    """What a job is answered while something else is done."""
    asking = asyncio.create_task(pipelines.ask())
    async with asyncio.timeout(20):
        await held.reached.wait()
        await meanwhile()
        held.go_on.set()
        return await asking


async def test_a_scope_taken_from_jobs_meanwhile_is_not_issued(pipelines: Pipelines, held: Slow) -> None:
    path = pipelines.company.folder / "policy" / "billing.toml"
    path.write_text(path.read_text().replace('origins = ["pipeline", "laptop"]', 'origins = ["laptop"]'))
    status, body = await of_job(pipelines, held, lambda: pipelines.company.issuer.desk().act("reload", {}))
    assert (status, body["refusal"]["reason"]) == (503, "policy_changed")


async def test_a_denial_of_who_started_the_job_counts_at_once(pipelines: Pipelines, held: Slow) -> None:
    denial = {"kind": "user", "value": "8"}
    status, body = await of_job(pipelines, held, lambda: pipelines.company.issuer.desk().act("deny", denial))
    assert (status, body["refusal"]["reason"]) == (403, "denied")


async def test_facts_that_are_too_old_by_then_are_none(pipelines: Pipelines, held: Slow) -> None:
    async def a_minute_goes_by() -> None:
        pipelines.company.clock.pass_(61)

    status, body = await of_job(pipelines, held, a_minute_goes_by)
    assert (status, body["refusal"]["reason"]) == (503, "facts_old")


async def test_another_agent_that_was_first_meanwhile_keeps_the_token(pipelines: Pipelines, held: Slow) -> None:
    token, thief = pipelines.token(), pipelines.agent()
    asking = asyncio.create_task(thief.token(token, scope="release-publisher"))
    async with asyncio.timeout(20):
        await held.reached.wait()
        assert (await pipelines.agent().token(token, scope="no-such-scope"))[1]["error"] == "invalid_scope"
        held.go_on.set()
        status, body = await asking
    assert (status, body["refusal"]["reason"]) == (400, "job_bound")
