"""What a request selects stays within its scope's patterns, however the name is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.issuer.doubles import Company, environment, member, open_company


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


def with_patterns(folder: Path) -> None:
    """``invoice-archive-writer`` covers ``review/*``, ``release-publisher`` covers ``branch:feature/**``."""
    path = folder / "policy" / "billing.toml"
    text = path.read_text().replace('environment = "staging"', 'environment = "review/*"', 1)
    path.write_text(text.replace('ref = "branch:main"', 'ref = "branch:feature/**"'))


@pytest.fixture
async def patterned(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path, change=with_patterns) as opened:
        opened.gitlab.many["projects/42/environments"].append(environment("review/1", "development"))
        yield opened


ENVIRONMENTS = [
    "..",
    "staging/",
    " staging",
    "Staging",
    "STAGING",
    "staging\n",
    "staging\u200b",
    "\uff53taging",
    "%2e%2e",
    "*",
    "staging*",
    "production",
]


@pytest.mark.parametrize("name", ENVIRONMENTS)
async def test_an_environment_is_the_scopes_own_though_gitlab_has_others(company: Company, name: str) -> None:
    company.gitlab.many["projects/42/environments"].append(environment(name))
    laptop, token = await company.signed_in()
    assert (await laptop.token(token, environment="staging"))[0] == 200
    assert (await laptop.token(token, environment=name))[0] == 403


BESIDE = [
    "review/../production",
    "review/..",
    "review/",
    "review",
    "Review/1",
    "REVIEW/1",
    "review/1\n",
    "review/1/2",
    "review/\u2025",
    "production",
    "review/1 ",
    "review/1\x00",
]


@pytest.mark.parametrize("name", BESIDE)
async def test_a_pattern_of_environments_is_not_left(patterned: Company, name: str) -> None:
    laptop, token = await patterned.signed_in()
    assert (await laptop.token(token, environment="review/1"))[0] == 200
    assert (await laptop.token(token, environment=name))[0] == 403


REFS = [
    "branch:main",
    "tag:feature/x",
    "branch:feature/",
    "feature/x",
    "branch:feature/y",
    "BRANCH:feature/x",
    "branch:feature/x\n",
    "branch:Feature/x",
    "branch:feature/$x",
    "branch:^feature/x",
    "refs/heads/feature/x",
    "branch:feature/x:y",
    "tag:branch:feature/x",
]


@pytest.mark.parametrize("ref", REFS)
async def test_a_pattern_of_refs_is_not_left(patterned: Company, ref: str) -> None:
    laptop, token = await patterned.signed_in()
    assert (await laptop.token(token, scope="release-publisher", ref="branch:feature/x"))[0] == 200
    assert (await laptop.token(token, scope="release-publisher", ref=ref))[0] == 403


async def test_another_account_of_the_same_identity_is_another_person(company: Company) -> None:
    """The pin is by the identity provider's id; a new account with it does not come into the old one's sign-in."""
    laptop, token = await company.signed_in()
    company.issuer.gitlab.forget()
    company.gitlab.one["users/77"] = company.gitlab.one.pop("users/7") | {"id": 77}
    company.gitlab.one["projects/42/members/all/77"] = member(77, 40)
    assert (await laptop.token(token))[0] != 200
