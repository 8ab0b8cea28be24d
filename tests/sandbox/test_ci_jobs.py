"""Jobs of the sandbox's GitLab: their tokens claim for claim, their shape, and what GitLab would not run."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import jwt
import pytest

from juniperd.sandbox import ci_runner
from juniperd.sandbox.ci_jobs import NOT_DEPLOYABLE, Job, Wish
from juniperd.sandbox.company import company
from juniperd.sandbox.company_ci import ISSUER
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken
from juniperd.sandbox.world import Access, Place, ProtectedRef, RepositoryFile, Unknown

from .clock import Clock

BILLING = "shop/billing"
ARCHIVE = Wish("archive-invoices", "maintainer", BILLING)
PREVIEW = Wish("preview-invoices", "developer", BILLING, "branch:fix-late-fee")
# Name and type of every claim of a job with an environment, as GitLab documents them.
CLAIMS: dict[str, type] = {
    **dict.fromkeys(("iss", "sub", "aud", "jti"), str),
    **dict.fromkeys(("iat", "nbf", "exp", "runner_id"), int),
    **dict.fromkeys(("namespace_id", "namespace_path", "project_id", "project_path"), str),
    **dict.fromkeys(("job_namespace_id", "job_namespace_path", "job_project_id", "job_project_path"), str),
    **dict.fromkeys(("user_id", "user_login", "user_email", "user_access_level"), str),
    **dict.fromkeys(("pipeline_id", "pipeline_source", "job_id", "ref", "ref_type", "ref_path", "ref_protected"), str),
    **dict.fromkeys(("runner_environment", "sha", "project_visibility", "ci_config_ref_uri", "ci_config_sha"), str),
    **dict.fromkeys(("environment", "environment_protected", "deployment_tier", "environment_action"), str),
}
# What GitLab's own schema of a job requires (spec/fixtures/api/schemas/public_api/v4/job.json).
JOB_FIELDS = {
    *("id", "status", "stage", "name", "ref", "tag", "coverage", "allow_failure", "created_at", "started_at"),
    *("finished_at", "erased_at", "duration", "queued_duration", "user", "commit", "pipeline", "web_url", "artifacts"),
    *("artifacts_expire_at", "runner", "runner_manager", "tag_list", "archived", "project"),
}


@pytest.fixture
async def gitlab(clock: Clock) -> AsyncIterator[GitLabDouble]:
    async with GitLabDouble(company(), ReaderToken("glpat-test"), clock=clock) as double:
        yield double


async def verified(gitlab: GitLabDouble, token: str, audience: str) -> dict[str, Any]:
    """By discovery alone, as a relying party does it that was told nothing but the issuer's URL."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{gitlab.url}/.well-known/openid-configuration") as got:
            document = await got.json()
        async with session.get(document["jwks_uri"]) as got:
            keys = jwt.PyJWKSet.from_dict(await got.json())
    assert document["issuer"] == gitlab.url
    key = keys[jwt.get_unverified_header(token)["kid"]]
    # The clock of this test stands in another year, and is compared below.
    options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
    return jwt.decode(token, key, ["RS256"], audience=audience, issuer=document["issuer"], options=options)


async def test_a_token_says_what_gitlab_says_and_in_its_types(gitlab: GitLabDouble, clock: Clock) -> None:
    job = gitlab.jobs.start(ARCHIVE)
    claims = await verified(gitlab, ci_runner.variables(job, gitlab)["JUNIPER_ID_TOKEN"], ISSUER)
    assert {name: type(value) for name, value in claims.items()} == CLAIMS
    assert claims["sub"] == "project_path:shop/billing:ref_type:branch:ref:main"
    now = int(clock())
    assert (claims["iat"], claims["nbf"], claims["exp"]) == (now, now - 5, now + 3600)
    assert str(uuid.UUID(claims["jti"])) == claims["jti"]
    person = ("8", "maintainer", "maintainer")
    assert (claims["user_id"], claims["user_login"], claims["user_access_level"]) == person
    assert (claims["project_id"], claims["job_project_id"], claims["namespace_id"]) == ("42", "42", "5")
    assert (claims["ref_protected"], claims["environment_protected"]) == ("true", "true")
    place = ("staging", "staging", "start")
    assert (claims["environment"], claims["deployment_tier"], claims["environment_action"]) == place
    host = gitlab.url.removeprefix("http://")
    assert claims["ci_config_ref_uri"] == f"{host}/shop/billing//.gitlab-ci.yml@refs/heads/main"


def told(gitlab: GitLabDouble, job: Job, variable: str = "JUNIPER_ID_TOKEN") -> dict[str, Any]:
    return jwt.decode(ci_runner.variables(job, gitlab)[variable], options={"verify_signature": False})


async def test_audiences_are_what_the_configuration_asks_for(gitlab: GitLabDouble) -> None:
    job = gitlab.jobs.start(replace(ARCHIVE, name="publish-release"))
    assert told(gitlab, job, "REGISTRY_ID_TOKEN")["aud"] == [
        "https://registry.shop.example",
        "https://mirror.shop.example",
    ]
    assert told(gitlab, job)["environment_action"] == "prepare"
    assert told(gitlab, job)["jti"] != told(gitlab, job)["jti"]


async def test_a_branch_of_ones_own_and_an_environment_made_for_it(gitlab: GitLabDouble) -> None:
    job = gitlab.jobs.start(PREVIEW)
    claims = told(gitlab, job)
    assert (claims["environment"], claims["deployment_tier"]) == ("review/fix-late-fee", "development")
    assert (claims["ref_protected"], claims["environment_protected"]) == ("false", "false")
    assert [row.name for row in gitlab.world.environments].count("review/fix-late-fee") == 1
    gitlab.jobs.start(PREVIEW)
    assert [row.name for row in gitlab.world.environments].count("review/fix-late-fee") == 1


async def test_a_tag_a_timeout_and_configuration_from_elsewhere(gitlab: GitLabDouble) -> None:
    gitlab.world.change_project(BILLING, tags=("v1",))  # type: ignore[arg-type]  # a tuple, as the dataclass has it
    claims = told(gitlab, gitlab.jobs.start(Wish("publish-release", "maintainer", BILLING, "tag:v1", "web")))
    assert (claims["ref"], claims["ref_type"], claims["ref_path"]) == ("v1", "tag", "refs/tags/v1")
    assert (claims["ref_protected"], claims["pipeline_source"]) == ("true", "web")
    journal = gitlab.jobs.start(Wish("read-journal", "maintainer", "shop/payments/ledger"))
    assert told(gitlab, journal)["exp"] - told(gitlab, journal)["iat"] == 900
    gitlab.world.change_project(BILLING, ci_config_path="ci.yml@shop/templates")
    gitlab.world.files.append(
        RepositoryFile(42, "ci.yml@shop/templates", "archive-invoices: {script: 'true', id_tokens: {T: {aud: x}}}")
    )
    elsewhere = told(gitlab, gitlab.jobs.start(ARCHIVE), "T")
    assert (elsewhere["ci_config_ref_uri"], elsewhere["ci_config_sha"]) == (None, None)
    assert "environment" not in elsewhere


async def test_a_fork_is_named_as_the_source_and_the_job_runs_in_the_project(gitlab: GitLabDouble) -> None:
    wish = Wish(
        "preview-invoices", "maintainer", BILLING, "branch:add-currency", "merge_request_event", "figures/billing"
    )
    job = gitlab.jobs.start(wish)
    claims = told(gitlab, job)
    assert (claims["project_id"], claims["job_project_id"]) == ("48", "42")
    assert claims["sub"].startswith("project_path:figures/billing:")
    # Who started it has no role in the fork.
    assert (claims["user_access_level"], claims["ref_protected"]) == (None, "false")
    assert job.pipeline.named_ref.startswith("refs/merge-requests/")


REFUSED = [
    (replace(ARCHIVE, user="reporter"), "Insufficient permissions to create a new pipeline"),
    (replace(ARCHIVE, user="outsider"), "Insufficient permissions to create a new pipeline"),
    (replace(ARCHIVE, user="blocked"), "Insufficient permissions to create a new pipeline"),
    (replace(ARCHIVE, project="shop/attic"), "Insufficient permissions to create a new pipeline"),
    (Wish("read", "reporter", "figures/seasonal"), "Insufficient permissions to create a new pipeline"),
    (replace(ARCHIVE, ref="branch:none"), "Reference not found"),
    (replace(ARCHIVE, ref="tag:main"), "Reference not found"),
    (replace(ARCHIVE, ref="main"), "main is neither branch:NAME nor tag:NAME"),
    (replace(ARCHIVE, name="no-such-job"), "this pipeline has no job no-such-job"),
    (replace(PREVIEW, ref="branch:main", user="maintainer"), "this pipeline has no job preview-invoices"),
    (replace(ARCHIVE, fork="figures/billing"), "only a merge request comes from a fork"),
    (replace(ARCHIVE, source="api"), "no source api"),
    (replace(ARCHIVE, project="shop/tax"), "Missing CI config file"),
    (replace(ARCHIVE, user="developer", name="archive-production-invoices"), NOT_DEPLOYABLE),
]


@pytest.mark.parametrize(("wish", "text"), REFUSED)
async def test_what_gitlab_would_not_run(gitlab: GitLabDouble, wish: Wish, text: str) -> None:
    with pytest.raises(Unknown) as refused:
        gitlab.jobs.start(wish)
    assert text in str(refused.value)


async def test_pushing_or_merging_is_what_a_pipeline_on_a_protected_branch_needs(gitlab: GitLabDouble) -> None:
    assert gitlab.jobs.start(replace(ARCHIVE, user="developer")).status == "running"  # may merge
    gitlab.world.protect_ref(BILLING, "main", push="maintainer", merge="maintainer")
    with pytest.raises(Unknown, match="do not have sufficient permission to run a pipeline on 'main'"):
        gitlab.jobs.start(replace(ARCHIVE, user="developer"))
    # Where several protections match, the most permissive wins.
    rule = ProtectedRef(Place("project", 42), "branch", "ma*", (Access(user_id=7),))
    gitlab.world.protected_refs.append(rule)
    assert gitlab.jobs.start(replace(ARCHIVE, user="developer")).status == "running"


async def test_pipelines_that_are_switched_off_and_protected_tags(gitlab: GitLabDouble) -> None:
    gitlab.world.change_project(BILLING, tags=("v1", "main"))  # type: ignore[arg-type]  # as above
    release = Wish("publish-release", "developer", BILLING, "tag:v1")
    with pytest.raises(Unknown, match="run a pipeline on 'v1'"):
        gitlab.jobs.start(release)
    with pytest.raises(Unknown, match="Ref is ambiguous"):
        gitlab.jobs.start(ARCHIVE)
    gitlab.world.change_project(BILLING, builds_access_level="disabled")
    with pytest.raises(Unknown, match="Pipelines are disabled!"):
        gitlab.jobs.start(ARCHIVE)


async def test_a_group_protects_its_tier_and_an_approval_holds_the_job(
    http: aiohttp.ClientSession, gitlab: GitLabDouble
) -> None:
    gitlab.world.unprotect_environment(BILLING, "production")
    production = replace(ARCHIVE, name="archive-production-invoices")
    with pytest.raises(Unknown, match="deploying to is protected"):
        gitlab.jobs.start(replace(production, user="developer"))
    failed = await shown(http, gitlab, gitlab.jobs.rows[-1].id)
    assert (failed["status"], failed["failure_reason"]) == ("failed", "protected_environment_failure")
    # A role in a group's protection is the role in that group, and not in the project.
    gitlab.world.set_role("developer", BILLING, "maintainer")
    with pytest.raises(Unknown, match="deploying to is protected"):
        gitlab.jobs.start(replace(production, user="developer"))
    assert gitlab.jobs.start(production).status == "running"
    gitlab.world.protect_environment(BILLING, "production", deploy="maintainer", approvals=1)
    with pytest.raises(Unknown, match="waits for an approval"):
        gitlab.jobs.start(production)
    held = await shown(http, gitlab, gitlab.jobs.rows[-1].id)
    assert (held["status"], held["started_at"]) == ("manual", None)


async def shown(http: aiohttp.ClientSession, gitlab: GitLabDouble, number: int, project: int = 42) -> dict[str, Any]:
    url = f"{gitlab.url}/api/v4/projects/{project}/jobs/{number}"
    async with http.get(url, headers={"PRIVATE-TOKEN": "glpat-test"}) as got:
        row: dict[str, Any] = {**await got.json(), "answered": got.status}
    return row


async def test_a_job_in_gitlab_s_shape_from_start_to_end(
    http: aiohttp.ClientSession, gitlab: GitLabDouble, clock: Clock
) -> None:
    job = gitlab.jobs.start(ARCHIVE)
    row = await shown(http, gitlab, job.id)
    assert set(row) >= JOB_FIELDS
    assert (row["status"], row["name"], row["stage"], row["ref"], row["tag"]) == (
        "running",
        "archive-invoices",
        "deploy",
        "main",
        False,
    )
    assert (row["user"]["id"], row["pipeline"]["project_id"], row["pipeline"]["source"]) == (8, 42, "push")
    clock.now += 5
    gitlab.jobs.end(job.id, "success")
    gitlab.jobs.end(job.id, "canceled")  # too late
    row = await shown(http, gitlab, job.id)
    assert (row["status"], row["duration"], row["finished_at"]) == ("success", 5, "2026-09-21T14:13:25.000Z")
    for project, number in ((43, job.id), (42, 1)):
        row = await shown(http, gitlab, number, project)
        assert (row["answered"], row["message"]) == (404, "404 Not found")


async def test_a_job_ends_when_its_person_is_blocked(gitlab: GitLabDouble) -> None:
    job = gitlab.jobs.start(ARCHIVE)
    gitlab.world.change_user("maintainer", state="blocked")
    found = gitlab.jobs.find(job.id)
    assert (found.status, found.failure) == ("failed", "user_blocked")


async def test_a_job_whose_time_is_over_has_failed(gitlab: GitLabDouble, clock: Clock) -> None:
    job = gitlab.jobs.start(Wish("read-journal", "maintainer", "shop/payments/ledger"))
    clock.now += 899
    assert gitlab.jobs.find(job.id).status == "running"
    clock.now += 1
    found = gitlab.jobs.find(job.id)
    assert (found.status, found.failure) == ("failed", "job_execution_timeout")
