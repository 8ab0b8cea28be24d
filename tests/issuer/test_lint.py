"""``juniper policy lint``: each finding with its code, its place and its cure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from juniperd.errors import ConfigError
from juniperd.issuer import lint, lint_jobs, policy_commands, policy_file
from juniperd.issuer.lint import Severity
from juniperd.issuer.lint_jobs import Job
from juniperd.issuer.policy import Policy
from juniperd.issuer.policy_commands import Files
from tests.issuer.doubles import NOW, PARTIES, TODAY, write_files
from tests.issuer.test_policy_file import SCOPE, changed, with_line

CLUSTER = """[relying_party.staging-eu]
kind = "kubernetes"
audience = "staging-eu"
server = "https://k8s.example.com"
"""
HEAD = SCOPE.partition("[scope.archive.aws]")[0]
POD = '[scope.archive.kubernetes]\nrelying_party = "staging-eu"\nnamespace = "billing"\n'
PIPELINE = HEAD.replace('"laptop"', '"pipeline"') + SCOPE[len(HEAD) :]
SIBLINGS = (
    (SCOPE + SCOPE.partition("\n")[2].replace("archive", "archive-writer").replace('"read"', '"write"'))
    .replace("[scope.archive]", "[scope.archive-reader]")
    .replace("[scope.archive.aws]", "[scope.archive-reader.aws]")
)
TWINS = SCOPE + PIPELINE.partition("\n")[2].replace("scope.archive", "scope.ledger")
FOUND = {
    "nothing": (SCOPE, []),
    "a name of a place": (SCOPE.replace("scope.archive", "scope.staging"), ["name-of-a-place"]),
    "a name of nothing but places": (SCOPE.replace("scope.archive", "scope.pre-prod"), ["name-of-a-place"]),
    "a name with a place": (SCOPE.replace("scope.archive", "scope.staging-archive"), []),
    "no environment": (PIPELINE.replace('environment = "staging"\n', ""), ["no-environment"]),
    "no number": (PIPELINE.replace("project_id = 42\n", ""), ["no-project-id"]),
    "several projects": (
        PIPELINE.replace("project_id = 42", "namespace_id = 5").replace("shop/billing", "shop/*"),
        ["several-projects"],
    ),
    "merging": (with_line('laptop_basis = "merge"'), ["merge-basis"]),
    "a CI file elsewhere": (with_line("ci_config_elsewhere = true"), ["ci-config-elsewhere"]),
    "a role that runs nothing": (with_line('role = "reporter"'), ["role-below-developer"]),
    "pull requests": (
        PIPELINE.replace("access", 'sources = ["push", "external_pull_request_event"]\naccess', 1),
        ["merge-request-source"],
    ),
    "merge requests": (PIPELINE.replace("access", 'sources = ["merge_request_event"]\naccess', 1), ["merge-request-source"]),
    "production, closed": (changed("environment", '"production"'), ["production-closed"]),
    "production, open": (
        changed("environment", '"production"').replace("access", "laptop_production = {users = [7], until = 2026-09-21}\naccess", 1),
        ["laptop-production"],
    ),
    "production, over": (
        changed("environment", '"production"').replace("access", "laptop_production = {users = [7], until = 2026-09-20}\naccess", 1),
        ["laptop-production-over"],
    ),
    "production by another name": (changed("environment", '"live-eu"'), ["production-unnamed"]),
    "production by a pattern": (changed("environment", '"prod*"'), ["production-unnamed"]),
    "production below a name": (changed("environment", '"live/*"'), ["production-unnamed"]),
    "production by a covered pattern": (changed("environment", '"prod/*"'), []),
    "what only sounds so": (changed("environment", '"delivery"'), []),
    "what comes before it": (changed("environment", '"pre-prod"'), []),
    "what is reviewed for it": (changed("environment", '"review/prod"'), []),
    "a long write": (HEAD.replace('"read"', '"write"') + POD, ["long-write"]),
    "a short write": (HEAD.replace('"read"', '"write"').replace("access", 'ttl = "15m"\naccess', 1) + POD, []),
    "a long read": (HEAD + POD, []),
    "outliving nothing": (with_line("outlives = true"), ["outlives-unused"]),
    "a reader beside a writer": (SIBLINGS, ["read-only-missing"]),
    "a role of laptops and of pipelines": (TWINS, ["shared-account"]),
    "a role of two for the same": (TWINS.replace('"pipeline"', '"laptop"'), []),
    "a reader that becomes the writer": (
        SIBLINGS.replace("role/archive-writer", "role/archive"),
        ["read-only-missing", "shared-account"],
    ),
    "a reader that is named": (
        SIBLINGS.replace('access = "write"', 'access = "write"\nread_only = "archive-reader"'),
        [],
    ),
    "a reader of another place": (SIBLINGS.replace('"staging"', '"review/1"', 1), []),
}  # fmt: skip


def load(folder: Path, text: str, parties: str = PARTIES + CLUSTER) -> Policy:
    (folder / "scopes.toml").write_text(text)
    (folder / "parties.toml").write_text(parties)
    return policy_file.load(folder / "scopes.toml", folder / "parties.toml")


@pytest.mark.parametrize("name", FOUND)
def test_each_code_has_its_cause(tmp_path: Path, name: str) -> None:
    text, codes = FOUND[name]
    findings = lint.of_policy(load(tmp_path, text), TODAY)
    assert [f.code for f in findings if f.code != "party-unused"] == codes
    assert all(f.cure and not str(f).endswith(".") for f in findings)


@pytest.mark.parametrize(
    ("account", "codes"), [("", []), ('service_account = "archive@team-123.iam.gserviceaccount.com"', ["long-write"])]
)
def test_google_sets_the_life_of_its_own_tokens_and_not_of_an_account_s(
    tmp_path: Path, account: str, codes: list[str]
) -> None:
    pool = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/juniper/providers/juniper"
    party = f'[relying_party.google]\nkind = "google"\naudience = "{pool}"\n'
    text = HEAD.replace('"read"', '"write"') + f'[scope.archive.google]\nrelying_party = "google"\n{account}\n'
    findings = lint.of_policy(load(tmp_path, text, PARTIES + party), TODAY)
    assert [f.code for f in findings if f.code != "party-unused"] == codes


def test_errors_are_what_lets_in_what_nobody_meant(tmp_path: Path) -> None:
    errors = set()
    for text, _ in FOUND.values():
        errors |= {f.code for f in lint.of_policy(load(tmp_path, text), TODAY) if f.severity is Severity.ERROR}
    assert errors == {"merge-request-source", "production-unnamed"}


def test_a_login_that_outlives_and_a_party_of_nobody_s(tmp_path: Path) -> None:
    registry = '[scope.archive.registry]\nrelying_party = "ecr"\n'
    party = '[relying_party.ecr]\nkind = "registry"\nprovider = "ecr"\nhost = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"\n'
    findings = lint.of_policy(load(tmp_path, with_line("outlives = true") + registry, PARTIES + CLUSTER + party), TODAY)
    assert [f.code for f in findings] == ["outlives", "party-unused"]
    assert findings[1].where == ("relying_party", "staging-eu")


def test_a_finding_stands_at_its_line_as_compilers_say_it(tmp_path: Path) -> None:
    load(tmp_path, changed("environment", '"live-eu"'))
    files = Files(tmp_path / "scopes.toml", tmp_path / "parties.toml")
    found = policy_commands.lint_files(lambda: files, clock=lambda: NOW)
    assert found.exit == 1
    first, second, last = found.text.splitlines()
    assert first.startswith(f"{tmp_path}/scopes.toml:6: error [production-unnamed] scope archive lets laptops into")
    assert second.startswith(f"{tmp_path}/parties.toml:5: warning [party-unused] relying party staging-eu")
    assert last == "2 findings, 1 of them errors"


@pytest.mark.parametrize(("strict", "status"), [(False, 0), (True, 1)])
def test_warnings_fail_only_where_asked(tmp_path: Path, *, strict: bool, status: int) -> None:
    load(tmp_path, SCOPE)
    files = Files(tmp_path / "scopes.toml", tmp_path / "parties.toml")
    found = policy_commands.lint_files(lambda: files, strict=strict, as_json=True, clock=lambda: NOW)
    document = json.loads(found.text)
    assert (found.exit, document["version"]) == (status, 1)
    (finding,) = document["findings"]
    assert {k: finding[k] for k in ("code", "severity", "relying_party", "line")} == {
        "code": "party-unused", "severity": "warning", "relying_party": "staging-eu", "line": 5,
    }  # fmt: skip
    assert finding["file"] == f"{tmp_path}/parties.toml"


def test_what_issuer_toml_says_is_linted_with_it(tmp_path: Path) -> None:
    path = write_files(tmp_path, gitlab="http://127.0.0.1:1", idp="http://127.0.0.1:2")
    found = policy_commands.lint_files(lambda: policy_commands.configured(path), clock=lambda: NOW)
    assert f"{path}:10: warning [sign-in-unruled] identity okta asks nothing of how people sign in" in found.text
    broken = policy_commands.lint_files(lambda: policy_commands.configured(tmp_path / "none.toml"))
    assert (broken.exit, "cannot be read" in broken.text) == (2, True)


# --- with the jobs there are ------------------------------------------------------------------------------------------

REVIEWS = changed("environment", '"review/**"')
JOBS: dict[str, tuple[str, list[str | None], set[str]]] = {
    "one name": (REVIEWS, ["review/main"], {'write environment = "review/main"'}),
    "several names": (REVIEWS, ["review/a", "review/b"], {'write environment = "review/*"'}),
    "a slug": (REVIEWS, ["review/$CI_COMMIT_REF_SLUG"], {'write environment = "review/*"'}),
    "a slug in braces": (REVIEWS, ["review/${CI_ENVIRONMENT_SLUG}"], {'write environment = "review/*"'}),
    "a name that may have a slash": (REVIEWS, ["review/$CI_COMMIT_REF_NAME"], set()),
    "a name with a slash": (REVIEWS, ["review/a/b", "review/c"], set()),
    "elsewhere": (REVIEWS, ["staging"], {"mend environment and ref, or remove the scope"}),
    "a literal that is used": (SCOPE, ["staging"], set()),
    "a literal that is not": (SCOPE, [None], {"mend environment and ref, or remove the scope"}),
}


@pytest.mark.parametrize("name", JOBS)
def test_what_no_job_uses_is_told(tmp_path: Path, name: str) -> None:
    text, environments, cures = JOBS[name]
    jobs = [Job("deploy", "shop/billing", None, environment) for environment in environments]
    assert {f.cure for f in lint_jobs.of_jobs(load(tmp_path, text), jobs)} == cures


def test_refs_are_compared_as_environments_are(tmp_path: Path) -> None:
    policy = load(tmp_path, with_line('ref = "branch:release/*"'))
    on = [Job("deploy", "shop/billing", ref, "staging") for ref in ("branch:release/1", "branch:main")]
    (finding,) = lint_jobs.of_jobs(policy, on)
    assert (finding.code, finding.where[2], finding.cure) == (
        "wider-than-jobs", "ref", 'write ref = "branch:release/1"',
    )  # fmt: skip
    (nobody,) = lint_jobs.of_jobs(policy, on[1:])
    assert nobody.code == "no-job"
    anywhere = [*on, Job("check", "shop/billing", None, "staging")]
    assert lint_jobs.of_jobs(policy, anywhere) == []


def test_a_pipeline_s_scope_without_ref_is_told_the_one_there_is(tmp_path: Path) -> None:
    jobs = [Job(name, "shop/billing", "branch:main", "staging") for name in ("deploy", "check")]
    (finding,) = lint_jobs.of_jobs(load(tmp_path, PIPELINE), jobs)
    assert finding.cure == 'write ref = "branch:main"'
    assert lint_jobs.of_jobs(load(tmp_path, SCOPE), jobs) == []
    assert lint_jobs.of_jobs(load(tmp_path, PIPELINE), [*jobs, Job("a", "shop/billing", "tag:v1", "staging")]) == []


def test_jobs_of_other_projects_say_nothing(tmp_path: Path) -> None:
    assert lint_jobs.of_jobs(load(tmp_path, REVIEWS), [Job("deploy", "shop/else", None, "review/x")]) == []


def test_jobs_are_read_from_a_file_and_count_as_findings(tmp_path: Path) -> None:
    load(tmp_path, REVIEWS)
    jobs = tmp_path / "jobs.json"
    row = {"name": "deploy", "project": "shop/billing", "ref": None, "environment": "review/main"}
    jobs.write_text(json.dumps({"version": 1, "jobs": [row]}))
    files = Files(tmp_path / "scopes.toml", tmp_path / "parties.toml")
    found = policy_commands.lint_files(lambda: files, jobs=jobs, clock=lambda: NOW)
    assert f"{tmp_path}/scopes.toml:6: warning [wider-than-jobs] scope archive covers" in found.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is no list of jobs"),
        ('{"version": 2, "jobs": []}', "is no list of jobs"),
        ('{"version": 1, "jobs": [], "more": 1}', "is no list of jobs"),
        ('{"version": 1, "jobs": [7]}', "job 1 is no job"),
        ('{"version": 1, "jobs": [{"name": "a", "project": "b"}, {"name": "a"}]}', "job 2 is no job"),
        ('{"version": 1, "jobs": [{"name": "a", "project": "b", "ref": "main"}]}', "job 1 is no job"),
        ('{"version": 1, "jobs": [{"name": "a", "project": "b", "stage": "c"}]}', "job 1 is no job"),
        ('{"version": 1, "jobs": [{"name": "a", "project": "b", "environment": 1}]}', "job 1 is no job"),
    ],
)
def test_jobs_that_are_half_understood_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "jobs.json").write_text(text)
    with pytest.raises(ConfigError, match=words):
        lint_jobs.read(tmp_path / "jobs.json")


def test_jobs_are_not_read_without_a_limit(tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_bytes(b" " * (lint_jobs.MOST_BYTES + 1))
    with pytest.raises(ConfigError, match="is larger than"):
        lint_jobs.read(tmp_path / "jobs.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        lint_jobs.read(tmp_path / "none.json")
