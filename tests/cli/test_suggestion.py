"""Proposed policy entries: names, what is missing, and that a policy takes them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from juniperd import suggestion
from juniperd.ci_file import CiJob
from juniperd.issuer import lint_jobs, policy_file
from juniperd.suggestion import Source

ISSUER = "https://juniper.shop.example"
ROLE = "arn:aws:iam::111122223333:role/invoice-archive-writer"
SOURCE = Source("shop/billing", 42, "branch:main", ISSUER)
ARCHIVE = CiJob("archive invoices", "deploy", "on_success", "staging", "staging", (ISSUER,), (ROLE,), "eu-west-1")
PARTY = '[relying_party.aws-111122223333]\nkind = "aws"\naudience = "juniper:aws:111122223333"\n'


def text_of(*jobs: CiJob, parties: dict[str, str] | None = None) -> str:
    return suggestion.toml(suggestion.proposals(jobs, SOURCE, parties or {}), SOURCE)


def names_of(*jobs: CiJob, source: Source = SOURCE) -> list[str]:
    return [one.name for one in suggestion.proposals(jobs, source, {})]


def test_a_policy_takes_what_is_proposed_once_its_parties_are_there(tmp_path: Path) -> None:
    other = "arn:aws:iam::111122223333:role/ledger-reader"
    jobs = [
        ARCHIVE,
        replace(ARCHIVE, name="archive: [eu]", role_arns=(ROLE, other)),
        replace(ARCHIVE, name="preview", environment="review/x", pattern="review/*"),
        replace(ARCHIVE, name="release", environment="production", pattern="production"),
        replace(ARCHIVE, name="nightly", environment=None, pattern=None),
        replace(ARCHIVE, name='odd "name"\\\x7f', pattern="eu/staging", environment="eu/staging"),
        replace(ARCHIVE, name="no role", role_arns=()),
        replace(ARCHIVE, name="no region", region="$WHERE"),
        replace(ARCHIVE, name="no token and no role", role_arns=(), audiences=()),
    ]
    file = tmp_path / "proposed.toml"
    file.write_text(text_of(*jobs) + PARTY)
    policy = policy_file.load(file)
    scopes = dict(policy.scopes.items())
    assert list(scopes) == [
        "billing-archive-invoices-staging",
        "billing-archive-eu-staging-invoice-archive-write",  # 48 letters, and no more
        "billing-archive-eu-staging-ledger-reader",
        "billing-preview-review",
        "billing-release-production",
        "billing-nightly",
        "billing-odd-name-eu-staging",
    ]
    assert scopes["billing-archive-invoices-staging"].ref == "branch:main"
    assert scopes["billing-preview-review"].ref is None
    laptop = {name for name, scope in scopes.items() if "laptop" in scope.origins}
    assert laptop == set(scopes) - {"billing-release-production", "billing-nightly"}


def test_what_could_not_be_found_is_named() -> None:
    text = text_of(replace(ARCHIVE, pattern=None, environment=None, audiences=("https://other.example",), region=None))
    for said in (
        "whether it only reads could not be told",
        "it has no environment",
        f"its ID tokens are for https://other.example; add one with aud: {ISSUER}",
        "the region of its role could not be found",
        'declare [relying_party.aws-111122223333] with kind = "aws"',
    ):
        assert said in text
    assert not re.search(r"^\[", text, re.MULTILINE)  # no entry yet
    verifies = text_of(replace(ARCHIVE, action="verify"))
    assert (
        "# its action there is verify: where the environment is protected only a job that deploys holds it" in verifies
    )
    assert "its action" not in text_of(ARCHIVE)
    assert "asks for no ID token" in text_of(replace(ARCHIVE, audiences=()))
    assert "production is for pipelines" in text_of(replace(ARCHIVE, pattern="Live/eu", environment="Live/eu"))
    assert "no job there asks for an ID token" in text_of()


def test_a_party_that_there_is_needs_no_declaration() -> None:
    text = text_of(ARCHIVE, parties={"111122223333": "aws-shop"})
    assert 'relying_party = "aws-shop"' in text
    assert "declare" not in text


@pytest.mark.parametrize(
    ("project", "job", "pattern", "name"),
    [
        ("shop/billing", "Deploy to Staging!", "staging", "billing-deploy-to-staging"),
        ("shop/staging", "staging", "staging", "staging-job"),
        ("shop/42-billing", "deploy", "staging", "job-42-billing-deploy-staging"),
        ("shop/b", "x" * 60, "staging", f"b-{'x' * 46}"),
    ],
)
def test_names(project: str, job: str, pattern: str, name: str) -> None:
    source = replace(SOURCE, project=project)
    assert names_of(replace(ARCHIVE, name=job, pattern=pattern), source=source) == [name]


def test_no_name_stands_twice() -> None:
    long = replace(ARCHIVE, name="y" * 80)
    first, second, third = names_of(long, long, long)
    assert first == f"billing-{'y' * 40}"
    assert (second, third) == (f"billing-{'y' * 38}-2", f"billing-{'y' * 38}-3")


def test_json_is_for_scripts() -> None:
    (found,) = suggestion.proposals([ARCHIVE], SOURCE, {})
    row = found.to_json(SOURCE)
    assert (row["complete"], row["environment"], row["ref"], row["project_id"]) == (True, "staging", "branch:main", 42)
    assert row["aws"] == {"relying_party": "aws-111122223333", "role_arn": ROLE, "region": "eu-west-1"}


@pytest.mark.parametrize(
    ("environment", "pattern", "scope"),
    [
        ("review/x", "review/**", "review/**"),  # a branch's own name, which may hold a slash
        ("a-x_eu", "a-*_eu", "a-*_eu"),  # what comes behind a variable is no part of its name
        ("caf\u00e9/1", None, "caf**"),  # policy has no pattern for it, and still it is used
    ],
)
def test_evidence_calls_no_scope_too_wide_that_its_job_needs(
    tmp_path: Path, environment: str, pattern: str | None, scope: str
) -> None:
    path, policy = tmp_path / "jobs.json", tmp_path / "policy.toml"
    path.write_text(
        json.dumps(suggestion.evidence([replace(ARCHIVE, environment=environment, pattern=pattern)], SOURCE))
    )
    policy.write_text(f"""version = 1
[relying_party.aws]
kind = "aws"
audience = "a"
[scope.archive-writer]
about = "x"
project = "shop/billing"
project_id = 42
environment = "{scope}"
origins = ["pipeline"]
access = "write"
[scope.archive-writer.aws]
relying_party = "aws"
role_arn = "{ROLE}"
region = "eu-west-1"
""")
    found = lint_jobs.of_jobs(policy_file.load(policy), lint_jobs.read(path))
    assert [one for one in found if one.where[-1] == "environment"] == []


def test_the_jobs_are_evidence_that_the_lint_reads(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    preview = replace(ARCHIVE, name="preview", environment="review/x", pattern="review/*")
    path.write_text(
        json.dumps(suggestion.evidence([ARCHIVE, preview, replace(ARCHIVE, environment=None, pattern=None)], SOURCE))
    )
    found = lint_jobs.read(path)
    assert [(job.name, job.ref, job.environment) for job in found] == [
        ("archive invoices", "branch:main", "staging"),
        ("preview", None, "review/${CI_COMMIT_REF_SLUG}"),
        ("archive invoices", "branch:main", None),
    ]
