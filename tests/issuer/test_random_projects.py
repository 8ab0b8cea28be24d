"""Random protections of one project, asked for over HTTP and judged, against a naive reading of the same rows."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.issuer.doubles import (
    Company,
    Row,
    level,
    member,
    open_company,
    protected_branch,
    protected_environment,
)

COVERS_MAIN = ("*", "main", "m*", "mai*n")
COVERS_STAGING = ("staging", "stag*", "*")
NO_COVER = ("MAIN", "ma", "Staging", "production")
GROUPS = (91, 92)


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


def allows(entry: Row, level_here: int, groups: set[int]) -> bool:
    """Whether one entry lets the developer (7) in."""
    named = {k: entry[k] for k in ("user_id", "group_id") if entry[k] is not None}
    if not named:
        return entry["access_level"] in (30, 40) and level_here >= entry["access_level"]
    return named == {"user_id": 7} or (set(named) == {"group_id"} and named["group_id"] in groups)


def entries(dice: random.Random) -> list[Row]:
    return [
        level(
            dice.choice((0, 30, 40, 60, None)),
            user_id=dice.choice((None, None, 7, 8)),
            group_id=dice.choice((None, None, None, *GROUPS)),
        )
        for _ in range(dice.randrange(3))
    ]


def arrange(company: Company, dice: random.Random) -> bool:
    """Another project in GitLab; whether the developer may hold the scope of its main branch."""
    tables, one = company.gitlab.many, company.gitlab.one
    person, above = dice.choice((20, 30, 40, 50)), dice.choice((0, 30, 40))
    one["projects/42/members/all/7"] = member(7, person)
    groups = {g for g in GROUPS if dice.random() < 0.5}
    for path in [*(f"groups/{g}/members/7" for g in GROUPS), "groups/5/members/all/7"]:
        one.pop(path, None)
    one.update({f"groups/{g}/members/7": member(7, 30) for g in groups})
    if above:
        one["groups/5/members/all/7"] = member(7, above)
    branches = [
        protected_branch(name, entries(dice), entries(dice))
        for name in dice.sample((*COVERS_MAIN, *NO_COVER), dice.randrange(3))
    ]
    own, tiers = (
        [protected_environment(name, entries(dice), approvals=dice.choice((0, 0, 0, 1))) for name in names]
        for names in (
            dice.sample((*COVERS_STAGING, *NO_COVER), dice.randrange(3)),
            dice.sample(("staging", "production"), dice.choice((0, 0, 1))),
        )
    )
    tables["projects/42/protected_branches"] = branches
    tables["projects/42/protected_environments"] = own
    tables["groups/5/protected_environments"] = tiers
    asked = [(b["push_access_levels"], person) for b in branches if b["name"] in COVERS_MAIN]
    asked += [(p["deploy_access_levels"], person) for p in own if p["name"] in COVERS_STAGING]
    asked += [(p["deploy_access_levels"], above) for p in tiers if p["name"] == "staging"]
    approvals = any(p["required_approval_count"] for p in own if p["name"] in COVERS_STAGING)
    approvals |= any(p["required_approval_count"] for p in tiers if p["name"] == "staging")
    return person >= 30 and not approvals and all(any(allows(e, here, groups) for e in row) for row, here in asked)


async def test_five_hundred_random_projects_are_judged_as_a_naive_reading_does(company: Company) -> None:
    dice = random.Random(7)
    laptop, token = await company.signed_in()
    tally = 0
    for _ in range(500):
        company.issuer.gitlab.forget()
        company.clock.pass_(0.01)
        may = arrange(company, dice)
        status, _ = await laptop.token(token, scope="release-publisher")
        assert (status == 200) == may, company.gitlab.many
        tally += may
    assert 50 < tally < 450
