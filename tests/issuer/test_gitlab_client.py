"""The GitLab client: memory, single flight, pauses, and the chain of calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestServer

from juniperd.http import Http
from juniperd.issuer.facts import Trouble
from juniperd.issuer.gitlab import Gitlab as Client
from juniperd.issuer.gitlab import Question, Reply
from juniperd.issuer.policy import Policy
from juniperd.issuer.proof import Proof
from juniperd.model import Secret
from tests.issuer.doubles import Clock, Gitlab, Row, company, level, open_company, protected_branch
from tests.issuer.test_gitlab_answers import SCOPE

if TYPE_CHECKING:
    from aiohttp import web

PROJECT = Question(("projects", 42))


@asynccontextmanager
async def client(gitlab: Gitlab, clock: Clock, token: str = "reader") -> AsyncIterator[Client]:
    async with TestServer(gitlab.app()) as server, Http(plain_loopback=True) as http:
        yield Client(http, url=str(server.make_url("")), token=Secret(token), clock=clock)


async def test_a_reply_is_remembered_for_less_than_a_minute() -> None:
    gitlab, clock = company(), Clock()
    async with client(gitlab, clock) as asker:
        for moment, calls in ((0, 1), (44, 1), (46, 2)):
            clock.now = Clock().now + moment
            assert isinstance(await asker.ask(PROJECT), Reply)
            assert len(gitlab.asked) == calls


async def test_many_askers_are_one_call_and_one_that_leaves_takes_nobody_with_it() -> None:
    gitlab, clock = company(), Clock()
    async with client(gitlab, clock) as asker:
        tasks = [asyncio.create_task(asker.ask(PROJECT)) for _ in range(20)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert all(isinstance(reply, Reply) for reply in found[1:])
        assert len(gitlab.asked) == 1


async def test_trouble_is_not_remembered() -> None:
    gitlab, clock = company(), Clock()
    async with client(gitlab, clock) as asker:
        gitlab.faults["projects/42"] = (500, {}, {})
        assert isinstance(await asker.ask(PROJECT), Trouble)
        gitlab.faults.clear()
        assert isinstance(await asker.ask(PROJECT), Reply)


async def test_429_pauses_as_long_as_gitlab_says() -> None:
    gitlab, clock = company(), Clock()
    async with client(gitlab, clock) as asker:
        gitlab.faults["projects/42"] = (429, {"Retry-After": "20"}, {})
        await asker.ask(PROJECT)
        gitlab.faults.clear()
        clock.pass_(19)
        paused = await asker.ask(PROJECT)
        assert isinstance(paused, Trouble)
        assert paused.passing
        assert len(gitlab.asked) == 1
        clock.pass_(1)
        assert isinstance(await asker.ask(PROJECT), Reply)


async def test_429_without_headers_pauses_longer_each_time() -> None:
    gitlab, clock = company(), Clock()
    async with client(gitlab, clock) as asker:
        gitlab.faults["projects/42"] = (429, {}, {})
        calls = []
        for _ in range(40):
            await asker.ask(PROJECT)
            calls.append(len(gitlab.asked))
            clock.pass_(1)
        assert calls[4] == 1
        assert calls[5] == 2
        assert calls[-1] == 4


async def test_a_list_is_whole_or_trouble() -> None:
    gitlab, clock = company(), Clock()
    gitlab.many["projects/42/protected_tags"] = [{"name": f"v{i}", "create_access_levels": []} for i in range(250)]
    question = Question(("projects", 42, "protected_tags"), many=True)
    async with client(gitlab, clock) as asker:
        reply = await asker.ask(question)
        assert isinstance(reply, Reply)
        assert len(reply.rows) == 250
        assert len(gitlab.asked) == 6


async def test_a_server_of_small_pages_is_followed_to_the_end() -> None:
    gitlab, clock = company(), Clock()
    gitlab.per_page = 7
    gitlab.many["projects/42/protected_tags"] = [{"name": f"v{i}", "create_access_levels": []} for i in range(30)]
    async with client(gitlab, clock) as asker:
        reply = await asker.ask(Question(("projects", 42, "protected_tags"), many=True))
        assert isinstance(reply, Reply)
        assert len(reply.rows) == 30


# --- a list that moves while it is read -------------------------------------------------------------------------------

TAGS = "projects/42/protected_tags"


@dataclass
class Moving(Gitlab):
    """A GitLab whose list is changed by ``turn`` before the answer of each number in ``turns``."""

    turns: dict[int, Callable[[list[Row]], list[Row]]] = field(default_factory=dict)
    headers: dict[int, dict[str, str]] = field(default_factory=dict)

    async def _answer(self, request: web.Request) -> web.Response:
        number = len(self.asked) + 1
        if (turn := self.turns.get(number)) is not None:
            self.many[TAGS] = turn(self.many[TAGS])
        answer = await super()._answer(request)
        answer.headers.update(self.headers.get(number, {}))
        return answer


def tags(*names: object) -> list[Row]:
    return [{"name": f"v{n}", "create_access_levels": []} for n in names]


async def read(rows: list[Row], **others: Any) -> Reply | Trouble:
    gitlab = Moving(many={TAGS: rows}, **others)
    async with client(gitlab, Clock()) as asker:
        return await asker.ask(Question(("projects", 42, "protected_tags"), many=True))


TURNS: dict[str, dict[int, Callable[[list[Row]], list[Row]]]] = {
    "a row goes between two pages": {2: lambda rows: rows[1:]},
    "a row goes and another comes": {2: lambda rows: [*rows[1:], *tags("new")]},
    "a row comes at the front": {2: lambda rows: [*tags("new"), *rows]},
    "a row is changed between two readings": {3: lambda rows: [rows[0] | {"create_access_levels": [{}]}, *rows[1:]]},
    "a row goes between two readings": {3: lambda rows: rows[1:]},
    "a row goes and another comes, in each reading": {
        2: lambda rows: [*rows[1:], *tags("new")],
        4: lambda rows: [*rows[1:], *tags("newer")],
    },
}


@pytest.mark.parametrize("name", TURNS)
async def test_a_list_that_moves_while_it_is_read_is_trouble_that_passes(name: str) -> None:
    """A row deleted on page 1 moves one of page 2 to where nobody looks any more."""
    found = await read(tags(*range(150)), turns=TURNS[name])
    assert isinstance(found, Trouble)
    assert (found.reason, found.passing) == ("gitlab_doubtful", True)


async def test_a_page_that_repeats_a_row_is_no_page() -> None:
    """The number of rows is right, and one of them is missing."""
    found = await read([*tags(*range(120)), *tags(0)])
    assert isinstance(found, Trouble)
    assert "twice" in found.text


async def test_rows_are_told_apart_by_id_before_name() -> None:
    same = [row | {"name": "v", "id": n} for n, row in enumerate(tags(*range(120)))]
    assert isinstance(await read(same), Reply)
    assert isinstance(await read([row | {"id": 1} for row in tags(*range(3))]), Trouble)


@pytest.mark.parametrize("totals", [{1: "120", 2: "121"}, {1: "121", 2: "120"}, {1: "", 2: "120"}, {1: "9", 2: "9"}])
async def test_pages_must_agree_on_how_many_rows_there_are(totals: dict[int, str]) -> None:
    headers = {n + more: {"x-total": totals[n]} for n in totals for more in (0, 2)}
    assert isinstance(await read(tags(*range(120)), headers=headers), Trouble)


async def test_a_page_longer_than_asked_for_is_doubtful() -> None:
    gitlab = company()
    gitlab.raw[TAGS] = tags(*range(101))
    async with client(gitlab, Clock()) as asker:
        assert isinstance(await asker.ask(Question(("projects", 42, "protected_tags"), many=True)), Trouble)


async def test_trouble_in_the_second_reading_is_trouble() -> None:
    class Failing(Gitlab):
        async def _answer(self, request: web.Request) -> web.Response:
            if len(self.asked) == 3:
                self.faults[TAGS] = (502, {}, {})
            return await super()._answer(request)

    async with client(Failing(many={TAGS: tags(*range(120))}), Clock()) as asker:
        assert isinstance(await asker.ask(Question(("projects", 42, "protected_tags"), many=True)), Trouble)


async def test_a_protection_that_moves_between_two_pages_mints_nothing(tmp_path: Path) -> None:
    """The wildcard that bars everybody is pushed to page 1 while page 2 is asked for."""

    class Shifting(Gitlab):
        async def _answer(self, request: web.Request) -> web.Response:
            path = request.match_info["path"]
            if path.endswith("protected_branches") and request.query.get("page") == "2":
                self.many[path] = self.many[path][1:]
            return await super()._answer(request)

    base, bar = company(), [level(40)]
    names = [*(f"old-{n}" for n in range(100)), "*", "zzz"]
    base.many["projects/42/protected_branches"] = [protected_branch(name, bar, bar) for name in names]
    async with open_company(tmp_path, gitlab=Shifting(one=base.one, many=base.many)) as opened:
        laptop, token = await opened.signed_in()
        assert (await laptop.token(token))[0] == 503
        assert opened.events()[-1]["reason"] == "gitlab_doubtful"


async def test_nobody_at_gitlab_is_passing_trouble() -> None:
    async with Http(plain_loopback=True) as http:
        asker = Client(http, url="http://127.0.0.1:9", token=Secret("reader"), clock=Clock())
        found = await asker.ask(PROJECT)
        assert isinstance(found, Trouble)
        assert found.passing


async def test_the_chain_of_calls_is_two_long(tmp_path: Path) -> None:
    """With every call held back alike, a cold decision takes two of them and not a dozen."""
    async with open_company(tmp_path) as opened:
        laptop, token = await opened.signed_in()
        opened.issuer.gitlab.forget()
        waves: list[list[str]] = [[]]
        gate = asyncio.Event()
        answer = opened.issuer.gitlab._get

        async def held(question: Question, paging: dict[str, str]) -> object:
            waves[-1].append(str(question))
            await gate.wait()
            return await answer(question, paging)

        opened.issuer.gitlab._get = held  # type: ignore[method-assign,assignment]
        task = asyncio.create_task(laptop.token(token))
        while not task.done():
            before = -1
            while len(waves[-1]) != before:
                before = len(waves[-1])
                for _ in range(20):
                    await asyncio.sleep(0.005)
            if task.done() or not waves[-1]:
                break
            waves.append([])
            opening, gate = gate, asyncio.Event()
            opening.set()
        assert (await task)[0] == 200
        assert [len(w) for w in waves if w] == [7, 3]


# --- the hourly proof -------------------------------------------------------------------------------------------------

POLICY = Policy({SCOPE.name: SCOPE}, {})


def reader(gitlab: Gitlab, **token: object) -> Gitlab:
    gitlab.one["user"] = {"id": 1, "is_admin": True}
    gitlab.one["personal_access_tokens/self"] = {"scopes": ["read_api"], "expires_at": "2027-06-01"} | token
    return gitlab


async def prove(gitlab: Gitlab, *, unlicensed: bool = False) -> tuple[set[int], list[str], bool]:
    clock = Clock()
    async with client(gitlab, clock) as asker:
        found = await Proof(asker, unlicensed=unlicensed, clock=clock).run(POLICY)
        return found.blind, found.warnings, found.whole


async def test_a_reader_that_sees_enough_proves_it() -> None:
    assert await prove(reader(company())) == (set(), [], True)


async def test_a_reader_that_sees_too_little_blinds_the_project() -> None:
    for hidden in (
        "projects/42/protected_branches",
        "projects/42/protected_environments",
        "projects/42/groups",
        "groups/5/protected_environments",
    ):
        gitlab = reader(company())
        gitlab.faults[hidden] = (403, {}, {})
        assert (await prove(gitlab))[0] == {42}


async def test_where_the_page_links_a_maintainers_reader_is_enough() -> None:
    gitlab, clock = reader(company()), Clock()
    gitlab.one["user"] = {"id": 1}
    for access, blind in ((40, set()), (30, {42})):
        gitlab.one["projects/42"]["permissions"] = {"group_access": {"access_level": access}, "project_access": None}
        async with client(gitlab, clock) as asker:
            found = await Proof(asker, unlicensed=False, clock=clock, by_extern_uid=False).run(POLICY)
        assert (found.blind, found.warnings, found.whole) == (blind, [], True)


async def test_a_reader_that_is_no_administrator_links_nobody() -> None:
    gitlab = reader(company())
    gitlab.one["user"] = {"id": 1}
    blind, warnings, _ = await prove(gitlab)
    assert blind == {42}
    assert "no administrator" in warnings[-1]


async def test_a_reader_without_licence_is_taken_at_the_configurations_word() -> None:
    gitlab = reader(company())
    gitlab.faults["projects/42/protected_environments"] = (404, {}, {})
    gitlab.faults["groups/5/protected_environments"] = (404, {}, {})
    assert (await prove(gitlab, unlicensed=True))[0] == set()
    assert (await prove(gitlab))[0] == {42}


async def test_a_late_gitlab_proves_nothing() -> None:
    gitlab = reader(company())
    gitlab.faults["projects/42/protected_tags"] = (502, {}, {})
    assert (await prove(gitlab))[2] is False


async def test_the_end_and_the_width_of_the_token_are_watched() -> None:
    _, warnings, _ = await prove(reader(company(), scopes=["api"], expires_at="2026-10-01"))
    assert warnings == [
        "the reader token may write (scope api); give it read_api alone",
        "the reader token ends in 10 days; make a new one",
    ]


async def test_a_blind_project_is_refused(tmp_path: Path) -> None:
    async with open_company(tmp_path, gitlab=reader(company())) as opened:
        laptop, token = await opened.signed_in()
        assert await opened.issuer.prove()
        assert (await laptop.token(token))[0] == 200
        opened.gitlab.faults["projects/42/protected_tags"] = (403, {}, {})
        opened.issuer.gitlab.forget()
        assert await opened.issuer.prove()
        status, body = await laptop.token(token)
        assert (status, body["refusal"]["reason"]) == (403, "reader_blind")
        assert opened.events("reader")[-1]["blind"] == [42]
