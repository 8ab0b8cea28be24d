"""Limits: who only fails is slowed, and takes nothing from who does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from juniperd.issuer.limits import CHECKS_PER_SECOND
from tests.issuer.doubles import Company, open_company


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


async def test_strangers_behind_one_address_lock_nobody_out(company: Company) -> None:
    laptop, token = await company.signed_in("developer")
    statuses = []
    for _ in range(300):
        async with company.session.post(company.wire + "/token", data={"scope": "x"}) as answer:
            statuses.append(answer.status)
        async with company.session.get(company.wire + "/catalogue") as answer:
            statuses.append(answer.status)
    assert statuses[-1] == 429
    assert (await laptop.token(token))[0] == 200
    assert (await laptop.call("GET", "/catalogue", token))[0] == 200
    assert (await company.laptop().token("x"))[0] == 429


async def test_an_exhausted_address_costs_a_bounded_share_of_cryptography(company: Company) -> None:
    laptop, token = await company.signed_in("developer")
    for _ in range(120 + CHECKS_PER_SECOND + 1):
        await company.laptop().token("x")
    status, body = await laptop.token(token)
    assert (status, body["error"]) == (429, "temporarily_unavailable")
    assert company.events() == []
    company.clock.pass_(0.1)
    assert (await laptop.token(token))[0] == 200


async def test_requests_of_one_person_are_limited_whatever_token_they_come_with(tmp_path: Path) -> None:
    def few(folder: Path) -> None:
        path = folder / "issuer.toml"
        path.write_text(path.read_text() + "[limits]\nper_subject = 5\n")

    async with open_company(tmp_path, change=few) as company:
        laptop, token = await company.signed_in("developer")
        answers = [(await laptop.token(company.idp.token("developer", n=n)))[0] for n in range(6)]
        assert answers == [200, 200, 200, 200, 429, 429]
        assert (await laptop.call("GET", "/catalogue", token))[0] == 429
        assert (await company.signed_in("maintainer"))[1]
