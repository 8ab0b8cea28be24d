"""People's own tokens at the sandbox's GitLab, and the dry run of a pipeline that they are for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from juniperd.sandbox.ci_access import guessed_tier
from juniperd.sandbox.company import company
from juniperd.sandbox.faults import Fault
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken
from juniperd.sandbox.gitlab_device import APPLICATION, DENY, DEVICE_GRANT
from juniperd.sandbox.world import RepositoryFile

from .clock import Clock

if TYPE_CHECKING:
    import aiohttp

Answer = tuple[int, dict[str, Any]]
DRY = {"dry_run": "true", "include_jobs": "true"}


@pytest.fixture
async def gitlab(clock: Clock) -> AsyncIterator[GitLabDouble]:
    async with GitLabDouble(company(), ReaderToken("glpat-test"), clock=clock) as double:
        double.people.approval = lambda: "developer"
        yield double


async def post(http: aiohttp.ClientSession, gitlab: GitLabDouble, path: str, **form: str) -> Answer:
    async with http.post(f"{gitlab.url}/oauth/{path}", data={"client_id": APPLICATION, **form}) as got:
        return got.status, await got.json()


async def started(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> dict[str, Any]:
    status, code = await post(http, gitlab, "authorize_device", scope="read_api")
    assert (status, code["expires_in"], len(code["user_code"])) == (200, 300, 8)
    assert code["verification_uri_complete"] == f"{gitlab.url}/oauth/device?user_code={code['user_code']}"
    return code


async def polled(http: aiohttp.ClientSession, gitlab: GitLabDouble, code: dict[str, Any]) -> Answer:
    return await post(http, gitlab, "token", grant_type=DEVICE_GRANT, device_code=code["device_code"])


async def signed_in(http: aiohttp.ClientSession, gitlab: GitLabDouble, person: str = "developer") -> dict[str, Any]:
    gitlab.people.approval = lambda: person
    status, tokens = await polled(http, gitlab, await started(http, gitlab))
    assert status == 200, tokens
    return tokens


async def asked(
    http: aiohttp.ClientSession, gitlab: GitLabDouble, token: str, path: str = "/projects/42/ci/lint", **query: str
) -> Answer:
    headers = {"Authorization": f"Bearer {token}"}
    async with http.get(f"{gitlab.url}/api/v4{path}", params=query, headers=headers) as got:
        return got.status, await got.json()


async def test_a_refresh_ends_both_tokens_and_a_revocation_all(
    http: aiohttp.ClientSession, gitlab: GitLabDouble, clock: Clock
) -> None:
    first = await signed_in(http, gitlab)
    assert (first["token_type"], first["expires_in"], first["scope"]) == ("Bearer", 7200, "read_api")
    assert (await asked(http, gitlab, first["access_token"], "/user"))[1]["username"] == "developer"
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    _, second = await post(http, gitlab, "token", **form)
    assert (await asked(http, gitlab, first["access_token"], "/user"))[0] == 401
    assert (await asked(http, gitlab, second["access_token"], "/user"))[0] == 200
    assert (await post(http, gitlab, "token", **form))[1]["error"] == "invalid_grant"
    clock.now += 7200
    assert (await asked(http, gitlab, second["access_token"], "/user"))[0] == 401
    third = await signed_in(http, gitlab)
    assert await post(http, gitlab, "revoke", token=third["refresh_token"]) == (200, {})
    assert (await asked(http, gitlab, third["access_token"], "/user"))[0] == 401
    assert (await post(http, gitlab, "revoke", token="t", client_id="other"))[0] == 403


async def test_the_device_flow_waits_for_a_person(
    http: aiohttp.ClientSession, gitlab: GitLabDouble, clock: Clock
) -> None:
    gitlab.people.approval = lambda: "ask"
    code = await started(http, gitlab)
    assert (await polled(http, gitlab, code))[1]["error"] == "authorization_pending"
    assert (await polled(http, gitlab, code))[1]["error"] == "slow_down"
    async with http.get(code["verification_uri_complete"]) as got:
        assert code["user_code"] in await got.text()
    click = {"user_code": code["user_code"], "login": "reporter", "answer": "authorize"}
    async with http.post(code["verification_uri"], data=click) as got:
        assert got.status == 200
    clock.now += 10
    assert (await polled(http, gitlab, code))[0] == 200
    late = await started(http, gitlab)
    clock.now += 300
    assert (await polled(http, gitlab, late))[1]["error"] == "expired_token"
    gitlab.people.approval = lambda: DENY
    assert (await polled(http, gitlab, await started(http, gitlab)))[1]["error"] == "access_denied"


async def test_who_asks_for_more_or_is_not_known(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    assert (await post(http, gitlab, "authorize_device", scope="api"))[1]["error"] == "invalid_scope"
    status, body = await post(http, gitlab, "authorize_device", scope="read_api", client_id="other")
    assert (status, body["error"]) == (401, "invalid_client")
    assert (await post(http, gitlab, "token", grant_type="password"))[1]["error"] == "unsupported_grant_type"
    gitlab.people.approval = lambda: "blocked"
    assert (await polled(http, gitlab, await started(http, gitlab)))[1]["error"] == "access_denied"


async def test_a_person_sees_their_own_projects_and_no_protections(
    http: aiohttp.ClientSession, gitlab: GitLabDouble
) -> None:
    token = (await signed_in(http, gitlab, "outsider"))["access_token"]
    assert (await asked(http, gitlab, token)) == (404, {"message": "404 Project Not Found"})
    assert (await asked(http, gitlab, token, "/projects/42/protected_environments"))[0] == 403
    assert (await asked(http, gitlab, token, "/users"))[0] == 403
    token = (await signed_in(http, gitlab))["access_token"]
    assert (await asked(http, gitlab, token, "/projects/42"))[1]["id"] == 42
    gitlab.world.change_user("developer", state="blocked")
    assert (await asked(http, gitlab, token))[0] == 401


async def test_the_jobs_that_a_push_would_create(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    token = (await signed_in(http, gitlab))["access_token"]
    status, answer = await asked(http, gitlab, token, **DRY, content_ref="main", dry_run_ref="main")
    assert (status, answer["valid"], answer["errors"]) == (200, True, [])
    shown = [(job["name"], job["stage"], job["environment"], job["when"]) for job in answer["jobs"]]
    assert shown == [
        ("render-invoices", "build", None, "on_success"),
        ("archive-invoices", "deploy", "staging", "on_success"),
        ("publish-release", "deploy", "staging", "on_success"),
        ("archive-production-invoices", "deploy", "production", "manual"),
    ]
    merged = yaml.safe_load(answer["merged_yaml"])
    assert "include" not in merged
    assert merged["archive-invoices"]["id_tokens"]["JUNIPER_ID_TOKEN"]["aud"] == "https://juniper.shop.example"
    _, other = await asked(http, gitlab, token, **DRY, content_ref="fix-late-fee", dry_run_ref="fix-late-fee")
    places = {job["name"]: job["environment"] for job in other["jobs"]}
    assert places == {"render-invoices": None, "preview-invoices": "review/$CI_COMMIT_REF_SLUG"}
    assert "jobs" not in (await asked(http, gitlab, token, dry_run="true"))[1]


async def test_the_caller_s_own_rights_decide(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    reporter = (await signed_in(http, gitlab, "reporter"))["access_token"]
    _, answer = await asked(http, gitlab, reporter, **DRY)
    assert (answer["valid"], answer["errors"]) == (False, ["Insufficient permissions to create a new pipeline"])
    assert (answer["jobs"], answer["merged_yaml"]) == ([], None)
    # A static check asks for no right to run anything.
    assert (await asked(http, gitlab, reporter))[1]["valid"] is True
    developer = (await signed_in(http, gitlab))["access_token"]
    gitlab.world.protect_ref("shop/billing", "main", push="maintainer", merge="maintainer")
    _, answer = await asked(http, gitlab, developer, **DRY)
    assert answer["errors"][0].startswith("You do not have sufficient permission to run a pipeline on 'main'.")
    gitlab.world.set_role("developer", "shop/billing", "guest")
    assert (await asked(http, gitlab, developer)) == (403, {"message": "403 Forbidden"})


async def test_refs_and_configurations_that_are_not_there_or_wrong(
    http: aiohttp.ClientSession, gitlab: GitLabDouble
) -> None:
    token = (await signed_in(http, gitlab))["access_token"]
    assert await asked(http, gitlab, token, content_ref="none") == (404, {"message": "404 Commit Not Found"})
    assert (await asked(http, gitlab, token, **DRY, dry_run_ref="none"))[1]["errors"] == ["Reference not found"]
    assert (await asked(http, gitlab, token, sha="main", content_ref="main"))[0] == 400
    assert (await asked(http, gitlab, token, "/projects/44/ci/lint"))[1]["errors"] == ["Missing CI config file"]
    broken = {
        "a: [": "Invalid configuration format",
        "a: {stage: test}": "jobs a config should implement the script:, run:, or trigger: keyword",
        "a: {script: x, stage: none}": "a job: chosen stage none does not exist",
        "include: /gone.yml": "Local file `gone.yml` does not exist!",
        "a: {script: x, rules: [{if: $A =~ /x/}]}": "rules:if invalid expression syntax: $A =~ /x/",
        "a: {script: x, rules: [{if: $A}]}": "Pipeline will not run for the selected trigger.",
        "stages: [test]": "jobs config should contain at least one visible job",
    }
    for text, problem in broken.items():
        gitlab.world.files = [RepositoryFile(42, ".gitlab-ci.yml", text, "main")]
        _, answer = await asked(http, gitlab, token, **DRY)
        assert (answer["valid"], answer["errors"][0][: len(problem)]) == (False, problem)


async def test_too_many_lints(http: aiohttp.ClientSession, gitlab: GitLabDouble) -> None:
    token = (await signed_in(http, gitlab))["access_token"]
    gitlab.faults.add(Fault("*/ci/lint", status=429, body='{"message":{"error":"This endpoint has been requested"}}'))
    assert (await asked(http, gitlab, token))[0] == 429


@pytest.mark.parametrize(
    ("name", "tier"),
    [("review/42", "development"), ("qa", "testing"), ("Staging", "staging"), ("live", "production"), ("eu", "other")],
)
def test_the_tier_that_a_name_suggests(name: str, tier: str) -> None:
    assert guessed_tier(name) == tier
