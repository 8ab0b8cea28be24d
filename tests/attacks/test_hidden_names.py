"""Whether a stranger to a project can tell its scopes' names from invented ones, by answer, outage or extra questions."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.issuer.doubles import Company, Laptop, open_company

HIDDEN, INVENTED = "invoice-archive-writer", "invoice-archive-wrixer"


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


async def explained(laptop: Laptop, token: str, name: str) -> str:
    status, body = await laptop.call("GET", "/explain", token, query=f"?scope={name}")
    return re.sub(r"'id': '[^']*'", "", f"{status} {body}").replace(name, "NAME")


@pytest.mark.parametrize("broken", ["", "projects/42", "projects/42/members/all/10", "users"])
async def test_explain_answers_both_alike_also_in_an_outage(company: Company, broken: str) -> None:
    laptop, token = await company.signed_in("outsider")
    company.clock.pass_(61)
    if broken:
        company.gitlab.faults[broken] = (503, {}, {})
    assert await explained(laptop, token, HIDDEN) == await explained(laptop, token, INVENTED)
    company.clock.pass_(61)
    assert await explained(laptop, token, INVENTED) == await explained(laptop, token, HIDDEN)


async def test_both_cost_a_stranger_a_wait_for_gitlab(company: Company) -> None:
    laptop, token = await company.signed_in("outsider")
    counts = []
    for name in (HIDDEN, INVENTED):
        company.clock.pass_(61)
        company.gitlab.asked.clear()
        await explained(laptop, token, name)
        counts.append(bool([path for path in company.gitlab.asked if "members" in path]))
    assert counts == [True, True]


@pytest.mark.parametrize("broken", ["projects/42", "projects/42/members/all/10", "users"])
async def test_a_mint_answers_both_alike_in_an_outage(company: Company, broken: str) -> None:
    laptop, token = await company.signed_in("outsider")
    company.gitlab.faults[broken] = (503, {}, {})
    said = []
    for name in (HIDDEN, INVENTED):
        company.clock.pass_(61)
        status, body = await laptop.token(token, scope=name)
        number = body["refusal"].pop("id")
        said.append(f"{status} {body}".replace(number, "ID"))
    assert said[0] == said[1]


@pytest.mark.parametrize("broken", ["", "projects/42", "projects/42/members/all/10", "users"])
async def test_parity_answers_both_alike_also_in_an_outage(company: Company, broken: str) -> None:
    laptop, token = await company.signed_in("outsider")
    if broken:
        company.gitlab.faults[broken] = (503, {}, {})
    said = []
    for name in (HIDDEN, INVENTED):
        company.clock.pass_(61)
        status, body = await laptop.call("GET", "/parity", token, query=f"?scope={name}")
        said.append(re.sub(r"'id': '[^']*'", "", f"{status} {body}"))
    assert said[0] == said[1]
