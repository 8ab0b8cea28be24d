"""Every reason that a decision refuses by has its cure, and says the fact that failed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from juniperd import issuer
from juniperd.issuer.cures import CURES, cure
from juniperd.issuer.verdict import Case, Refused
from tests.issuer.doubles import Company, Gitlab, level, member, open_company, protected_branch, protected_environment

# What decides a case and is heard through `explain`; session, mint and link page have words of their own.
DECIDING = ("checks", "selection", "decision", "denials", "links", "judge", "inquiry", "gitlab", "asking")
WORD = re.compile(r"""(?:Refused\(\s*(?:rule|"[0-9a-z]+"),|Trouble\(|_protected\(\s*case,\s*"\d",)\s*(f?)"([^"]+)\"""")
ELSEWHERE = {"policy_changed"}
"""Found while a token is issued, and never explained."""


def _words() -> set[str]:
    found: set[str] = set()
    for name in DECIDING:
        for formatted, word in WORD.findall((Path(issuer.__file__).parent / f"{name}.py").read_text()):
            found |= {word.replace("{what}", what) for what in ("ref", "environment")} if formatted else {word}
    return found - ELSEWHERE


def test_every_reason_of_a_decision_has_a_cure() -> None:
    assert _words() == CURES.keys()


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


def _closed_branch(gitlab: Gitlab) -> None:
    gitlab.many["projects/42/protected_branches"] = [protected_branch("main", [level(40)], [level(40)])]


def _closed_new_branches(gitlab: Gitlab) -> None:
    gitlab.many["projects/42/protected_branches"] = [protected_branch("*", [level(40)], [level(30)])]


def _closed_environment(gitlab: Gitlab) -> None:
    gitlab.many["projects/42/protected_environments"] = [protected_environment("staging", [level(40)])]


def _reporter(gitlab: Gitlab) -> None:
    gitlab.one["projects/42/members/all/7"] = member(7, 20)


def _nothing(_: Gitlab) -> None:
    pass


MAINTAINERS = "ask the maintainers of shop/billing"


@pytest.mark.parametrize(
    ("change", "scope", "reason", "said"),
    [
        (
            _reporter,
            "invoice-archive-writer",
            "role",
            "needs Developer in shop/billing; you are Reporter: ask its maintainers",
        ),
        (
            _nothing,
            "release-publisher",
            "merge_only",
            f"needs push on the branch main; you may merge: {MAINTAINERS}, or use a scope without a ref",
        ),
        (
            _closed_branch,
            "release-publisher",
            "branch_protected",
            f"needs push on the branch main; as Developer you have none: {MAINTAINERS}",
        ),
        (
            _closed_new_branches,
            "invoice-archive-writer",
            "new_branch",
            "needs push to new branches of shop/billing; as Developer you have none: ask its maintainers",
        ),
        (
            _closed_environment,
            "invoice-archive-writer",
            "environment_protected",
            f"needs deploy to staging; as Developer you have none: {MAINTAINERS}",
        ),
    ],
)
async def test_a_cure_says_what_is_needed_and_what_is_held(
    company: Company, change: Callable[[Gitlab], None], scope: str, reason: str, said: str
) -> None:
    laptop, token = await company.signed_in()
    change(company.gitlab)
    _, body = await laptop.call("GET", "/explain", token, query=f"?scope={scope}")
    assert (body["reason"], body["cure"]) == (reason, said)


async def test_a_word_that_nobody_foresaw_has_a_cure(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop, token = await company.signed_in()
    told: list[str] = []

    def unforeseen(refused: Refused, case: Case) -> str:
        told.append(cure(Refused(refused.rule, "unforeseen", refused.text), case))
        return told[-1]

    monkeypatch.setattr("juniperd.issuer.catalogue.cure", unforeseen)
    _, body = await laptop.call("GET", "/explain", token, query="?scope=release-publisher")
    assert [body["cure"]] == told == ["ask who runs the issuer, with the id of this refusal"]
