"""``juniper login --gitlab``, ``scope suggest`` and ``debug --job``: the person's own pipeline as advice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from juniperd.issuer import policy_file

from .company import Company

pytestmark = pytest.mark.e2e
SUGGEST = ("scope", "suggest", "--from-ci", "shop/billing")


@pytest.fixture
def advised(shop: Company) -> Iterator[Company]:
    """The developer, who has let Juniper read at GitLab."""
    signed_in = shop.juniper("login", "--gitlab")
    assert signed_in.stdout == (
        "signed in at GitLab as developer (user 7); in memory only, until juniper logout or juniper lock\n"
    )
    yield shop
    shop.drill("gitlab", "protect-branch", "shop/billing", "main", "maintainer", "developer")


def test_proposals_are_a_policy_once_they_are_complete(advised: Company) -> None:
    text = advised.juniper(*SUGGEST).good()
    proposed = advised.folder.parent / "proposed.toml"
    proposed.write_text(text)
    parties = advised.folder / "relying_parties"
    try:
        policy = policy_file.load(proposed, parties, sandbox=True)
    finally:
        proposed.unlink()
    (scope,) = policy.scopes.values()
    assert (scope.name, scope.project_id, scope.ref) == ("billing-archive-invoices-staging", 42, "branch:main")
    rows = json.loads(advised.juniper(*SUGGEST, "--ref", "branch:fix-late-fee", "--json").good())["scopes"]
    assert [(row["name"], row["environment"]) for row in rows] == [("billing-preview-invoices-review", "review/*")]


def test_a_job_narrows_a_session_to_its_environment_and_ref(advised: Company) -> None:
    ran = advised.juniper(
        "debug", "shop/billing", "--job", "archive-invoices", "--", "aws", "s3", "ls", "s3://invoice-archive-staging"
    )
    assert ran.status == 0, ran.stderr
    (opened,) = re.findall(r"shop/billing staging until .*; scopes: (.*)", ran.stderr)
    # Of main alone, whose push a developer has not.
    assert "billing-release-publisher" not in opened
    assert "invoice-archive-writer" in opened
    on_main = advised.juniper("debug", "shop/billing", "--job", "archive-invoices", "--ref", "main", "--", "true")
    assert on_main.status == 0, on_main.stderr
    for words, said in (
        (("no-such-job",), "choose one with --job: archive-invoices, publish-release, archive-production-invoices"),
        (("archive-invoice",), "did you mean archive-invoices?"),
        (("render-invoices",), "has no environment that can be told"),
        (("archive-invoices", "--env", "production"), "is for staging, not for production"),
        (("archive-production-invoices",), "you hold no scope of the job"),
    ):
        assert said in advised.juniper("debug", "shop/billing", "--job", *words, "--", "true").stderr


def test_a_job_is_held_against_the_laptop(advised: Company) -> None:
    mine = advised.juniper("parity", "invoice-archive-writer", "--job", "archive-invoices")
    assert mine.status == 0, mine
    lines = mine.stdout.splitlines()
    assert lines[0].startswith("invoice-archive-writer: the job archive-invoices as you may write it on a new branch, ")
    assert lines[1:4] == ["  job     holds it, started by push", "  laptop  holds it", "  aws-shop"]
    assert lines[-1] == "the laptop is within the job"
    # On main runs what others reviewed, so no such job is the developer's own.
    on_main = advised.juniper(
        "parity", "invoice-archive-writer", "--job", "archive-invoices", "--ref", "main", "--json"
    )
    found = json.loads(on_main.stdout)
    assert (on_main.status, found["job"]["reason"], found["laptop"]["holds"]) == (1, "gitlab_push", True)
    publisher = json.loads(advised.juniper("parity", "billing-release-publisher", "--json").good())
    assert (publisher["within"], publisher["job"]["holds"], publisher["laptop"]["reason"]) == (
        True,
        False,
        "merge_only",
    )
    assert "makes no job 'archive-invoice'; did you mean archive-invoices" in (
        advised.juniper("parity", "invoice-archive-writer", "--job", "archive-invoice").stderr
    )


def test_who_may_not_run_a_pipeline_is_told_so_by_gitlab(advised: Company) -> None:
    advised.drill("gitlab", "protect-branch", "shop/billing", "main", "maintainer", "maintainer")
    for words in (SUGGEST, ("debug", "shop/billing", "--job", "archive-invoices", "--", "true")):
        refused = advised.juniper(*words)
        assert (refused.status, refused.stdout) == (1, "")
        assert (
            "GitLab would make no pipeline of yours on main of shop/billing: You do not have sufficient permission to run "
            "a pipeline on 'main'." in refused.line
        )


def test_the_token_is_gone_with_the_sign_in_and_never_of_somebody_else(healed: Company) -> None:
    healed.sign_in()
    healed.juniper("login", "--gitlab").good()
    assert "sign-in   sandbox: developer at GitLab, for advice, in memory only" in healed.juniper("status").good()
    healed.juniper("logout").good()
    healed.sign_in()
    assert "at GitLab" not in healed.juniper("status").good()
    assert "nobody is signed in at GitLab; run: juniper login --gitlab" in healed.juniper(*SUGGEST).line
    healed.drill("idp", "as", "maintainer")
    assert "GitLab says that you are maintainer (user 8)" in healed.juniper("login", "--gitlab").stderr
    assert "nobody is signed in at GitLab" in healed.juniper(*SUGGEST).line
