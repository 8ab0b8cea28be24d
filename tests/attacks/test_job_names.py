"""Whether a job of another project can tell the scopes there from invented ones, and what a job that ended still learns."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.issuer.doubles import member
from tests.issuer.jobs import Pipelines, open_pipelines

HIDDEN, INVENTED = "release-publisher", "release-publixher"
STRANGER: dict[str, Any] = {"project_id": "43", "job_project_id": "43", "project_path": "evil/billing"}


@pytest.fixture
async def pipelines(tmp_path: Path) -> AsyncIterator[Pipelines]:
    async with open_pipelines(tmp_path) as opened:
        tables = opened.company.gitlab.one
        tables["projects/43"] = {**tables["projects/42"], "id": 43, "path_with_namespace": "evil/billing"}
        tables["projects/43/members/all/8"] = member(8, 50)
        of_43 = {"id": 700, "project_id": 43, "ref": "main", "status": "running", "source": "push"}
        tables["projects/43/jobs/900"] = {**tables["projects/42/jobs/900"], "pipeline": of_43}
        yield opened


@pytest.mark.parametrize("broken", ["", "projects/43", "projects/43/jobs/900", "users/8"])
async def test_a_strangers_job_hears_the_same_of_a_hidden_scope_and_of_none(pipelines: Pipelines, broken: str) -> None:
    company = pipelines.company
    if broken:
        company.gitlab.faults[broken] = (503, {}, {})
    said, asked = [], []
    for name in (HIDDEN, INVENTED):
        company.clock.pass_(61)
        company.gitlab.asked.clear()
        status, body = await pipelines.ask(scope=name, **STRANGER)
        said.append(re.sub(r"[0-9a-f]{16,}|'id': '[^']*'|decision [^;]*", "", f"{status} {body}"))
        asked.append(len(company.gitlab.asked))
    assert said[0] == said[1]
    assert asked[0] == asked[1]


async def test_a_job_that_ended_is_shown_no_scope_of_its_project(pipelines: Pipelines) -> None:
    pipelines.runs(status="canceled")
    status, body = await pipelines.agent().call("GET", "/catalogue", pipelines.token())
    assert (status, body["refusal"]["reason"]) == (403, "job_ended")


async def test_strangers_jobs_together_fill_neither_the_trail_nor_the_state(tmp_path: Path) -> None:
    def few(folder: Path) -> None:
        path = folder / "issuer.toml"
        path.write_text(path.read_text() + "[limits]\nper_address = 3\n")

    async with open_pipelines(tmp_path, change=few) as pipelines:
        answers = [await pipelines.ask(**{**STRANGER, "job_id": str(number)}) for number in range(1, 9)]
        assert [status for status, _ in answers] == [403] * 3 + [429] * 5
        assert len(pipelines.company.events()) == 3
        # Whoever has scopes is heard all the same.
        assert (await pipelines.ask())[0] == 200
        before = await pipelines.company.issuer.state.write(bindings_of)
        await pipelines.agent().call("GET", "/catalogue", pipelines.token(**STRANGER))
        assert await pipelines.company.issuer.state.write(bindings_of) == before


def bindings_of(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM job_tokens").fetchone()
    return int(count)
