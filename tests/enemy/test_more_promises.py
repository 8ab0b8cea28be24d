"""More attacks on the promise: selectors, refs, levels, proofs, and a fuzz against a naive reading of GitLab."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from juniperd.jose import SigningKey
from tests.issuer.doubles import (
    Company,
    environment,
    level,
    member,
    open_company,
    protected_branch,
    protected_environment,
)


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


def globbed(folder: Path) -> None:
    path = folder / "policy" / "billing.toml"
    text = path.read_text().replace('environment = "staging"', 'environment = "review/*"', 1)
    path.write_text(text.replace('ref = "branch:main"', 'ref = "branch:feature/**"'))


@pytest.mark.parametrize(
    "name",
    [
        "review/../production",
        "review/..",
        "review/",
        "review",
        "Review/1",
        "review/1\n",
        "review/1/2",
        "review/\u2025",
        "REVIEW/1",
        "production",
        "review/1 ",
        "review/1\x00",
    ],
)
async def test_a_glob_of_environments_is_not_left(tmp_path: Path, name: str) -> None:
    async with open_company(tmp_path, change=globbed) as company:
        company.gitlab.many["projects/42/environments"] += [environment("review/1", "development")]
        laptop, token = await company.signed_in("developer")
        assert (await laptop.token(token, environment="review/1"))[0] == 200
        assert (await laptop.token(token, environment=name))[0] != 200


@pytest.mark.parametrize(
    "ref",
    [
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
    ],
)
async def test_a_glob_of_refs_is_not_left(tmp_path: Path, ref: str) -> None:
    async with open_company(tmp_path, change=globbed) as company:
        company.gitlab.many["projects/42/environments"] += [environment("review/1", "development")]
        laptop, token = await company.signed_in("developer")
        assert (await laptop.token(token, scope="release-publisher", ref="branch:feature/x"))[0] == 200
        assert (await laptop.token(token, scope="release-publisher", ref=ref))[0] != 200


async def test_a_tag_named_like_the_branch_is_neither(company: Company) -> None:
    company.gitlab.one["projects/42/members/all/7"] = member(7, 40)
    laptop, token = await company.signed_in("developer")
    assert (await laptop.token(token, scope="release-publisher"))[0] == 200
    company.issuer.gitlab.forget()
    company.gitlab.many["projects/42/repository/tags"].append({"name": "main"})
    assert (await laptop.token(token, scope="release-publisher"))[0] == 403


@pytest.mark.parametrize(
    ("htm", "path"),
    [
        ("GET", "/token"),
        ("POST", "/sign-ins"),
        ("POST", "/token/"),
        ("POST", "/token?x=1"),
        ("post", "/token"),
        ("POST", "/TOKEN"),
    ],
)
async def test_a_proof_for_another_call_counts_for_nothing(company: Company, htm: str, path: str) -> None:
    laptop, token = await company.signed_in("developer")
    assert (await laptop.token(token, proof=laptop.proof(htm, path)))[0] == 400


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.test/token",
        "https://issuer.test:443/token",
        "https://ISSUER.test/token",
        "https://other.test/token",
        "https://issuer.test/./token",
    ],
)
async def test_a_proof_for_another_listener_counts_for_nothing(company: Company, url: str) -> None:
    laptop, token = await company.signed_in("developer")
    assert (await laptop.token(token, proof=laptop.proof("POST", "", url=url)))[0] == 400


async def test_one_proof_in_fifty_requests_at_once_counts_once(company: Company) -> None:
    laptop, token = await company.signed_in("developer")
    proof = laptop.proof("POST", "/token")
    answers = await asyncio.gather(*(laptop.token(token, proof=proof) for _ in range(50)))
    assert sum(status == 200 for status, _ in answers) == 1
    assert len(company.events()) == 1


async def test_another_key_a_second_laptop_and_an_rsa_key_mint_nothing(company: Company) -> None:
    _, token = await company.signed_in("developer")
    for key in (None, SigningKey.generate_rs256()):
        thief = company.laptop()
        if key is not None:
            thief.key = key
        assert (await thief.sign_in(token))[0] != 201
        assert (await thief.token(token))[0] != 200
        assert (await thief.call("DELETE", "/sign-ins", token))[0] == 204
        assert (await thief.token(token))[0] != 200
        assert (await thief.call("GET", "/catalogue", token))[0] != 200
        assert (await thief.call("GET", "/explain", token, query="?scope=invoice-archive-writer"))[0] != 200
    for change in ({"sid": None}, {"sid": "other"}, {"auth_time": int(company.clock()) - 6}):
        other = company.idp.token("developer", **change)
        assert (await company.laptop().token(other))[0] != 200


async def test_explain_tells_an_outsider_nothing(company: Company) -> None:
    laptop = company.laptop()
    token = company.idp.token("outsider")
    await laptop.sign_in(token)
    answers = [
        (await laptop.call("GET", "/explain", token, query=f"?scope={s}"))[1]
        for s in ("invoice-archive-writer", "nothing-like-it")
    ]
    assert [set(a) for a in answers] == [{"verdict", "id"}] * 2
    assert (await laptop.call("GET", "/catalogue", token))[1].get("scopes", []) == []


@pytest.mark.parametrize("wrong", [31, 29, 60, 45, 99, 100])
async def test_a_level_nobody_knows_is_no_level(company: Company, wrong: int) -> None:
    company.gitlab.one["projects/42/members/all/7"] = member(7, wrong)
    laptop, token = await company.signed_in("developer")
    assert (await laptop.token(token))[0] != 200


LEVELS = (0, 30, 40, 60, None)


def naive(person: int, groups: set[int], entries: list[dict[str, object]]) -> bool:
    for e in entries:
        if e["user_id"] == 7 and e["group_id"] is None:
            return True
        if e["group_id"] in groups and e["user_id"] is None:
            return True
        if (
            e["user_id"] is None
            and e["group_id"] is None
            and e["access_level"] in (30, 40)
            and person >= e["access_level"]
        ):
            return True
    return False


async def test_five_hundred_random_projects_against_a_naive_reading(company: Company) -> None:
    dice = random.Random(7)
    laptop, token = await company.signed_in("developer")

    def entries() -> list[dict[str, object]]:
        return [
            level(
                dice.choice(LEVELS),
                user_id=dice.choice((None, None, 7, 8)),
                group_id=dice.choice((None, None, None, 91, 92)),
            )
            for _ in range(dice.randrange(3))
        ]

    tally = 0
    for _ in range(500):
        company.issuer.gitlab.forget()
        company.clock.pass_(0.01)
        person = dice.choice((20, 30, 40, 50))
        company.gitlab.one["projects/42/members/all/7"] = member(7, person)
        groups = {g for g in (91, 92) if dice.random() < 0.5}
        for g in (91, 92):
            company.gitlab.one.pop(f"groups/{g}/members/7", None)
            if g in groups:
                company.gitlab.one[f"groups/{g}/members/7"] = member(7, 30)
        branches = [
            protected_branch(dice.choice(("*", "main", "m*", "mai*n", "MAIN", "ma")), entries(), entries())
            for _ in range(dice.randrange(3))
        ]
        own = [
            protected_environment(
                dice.choice(("staging", "stag*", "Staging", "production", "*")),
                entries(),
                approvals=dice.choice((0, 0, 0, 1)),
            )
            for _ in range(dice.randrange(3))
        ]
        company.gitlab.many["projects/42/protected_branches"] = branches
        company.gitlab.many["projects/42/protected_environments"] = own
        main = [b for b in branches if b["name"] in ("*", "main", "m*", "mai*n")]
        may = person >= 30 and all(naive(person, groups, b["push_access_levels"]) for b in main)
        for p in own:
            if p["name"] in ("staging", "stag*", "*"):
                may = may and not p["required_approval_count"] and naive(person, groups, p["deploy_access_levels"])
        status, body = await laptop.token(token, scope="release-publisher")
        assert status == 200 or not may or body["error"] != "x"
        assert not (status == 200 and not may), (person, groups, branches, own)
        tally += status == 200
    assert tally > 20
