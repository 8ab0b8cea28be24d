"""Jobs before ``/token``: one holds what the scope says of its ref and environment, and each that should not is refused by name."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import TestServer

from juniperd.jose import SigningKey
from tests.issuer.doubles import Row, environment, member, user
from tests.issuer.jobs import open_pipelines
from tests.issuer.minter_double import Minter, ending, rows
from tests.issuer.test_registries import write_all


def claims_of(body: Row) -> Row:
    return jwt.decode(body["access_token"], options={"verify_signature": False})


def refusal_of(answer: tuple[int, Row]) -> tuple[int, str, str]:
    """Status, reason and text of a no."""
    status, body = answer
    return status, body["refusal"]["reason"], body["error_description"]


async def test_a_job_holds_what_its_ref_and_environment_say(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        status, body = await pipelines.ask()
        assert status == 200, body
        claims = claims_of(body)
        assert claims["sub"] == "scope:release-publisher:origin:pipeline:project_id:42"
        assert (claims["juniper_origin"], claims["juniper_basis"]) == ("pipeline", "job")
        assert (claims["job_id"], claims["pipeline_id"], claims["pipeline_source"]) == ("900", "700", "push")
        assert (claims["ref_path"], claims["ref_protected"], claims["environment"]) == (
            "refs/heads/main",
            "true",
            "staging",
        )
        assert claims["runner_id"] == 3
        assert claims["https://aws.amazon.com/source_identity"] == "8-maintainer"
        assert claims["https://aws.amazon.com/tags"]["principal_tags"]["juniper_origin"] == ["pipeline"]
        (event,) = pipelines.company.events()
        assert (event["verdict"], event["origin"], event["subject"]) == ("permitted", "pipeline", "42/900")
        assert event["job"]["pipeline_source"] == "push"


async def test_what_gitlab_signed_goes_on_only_where_the_scope_is_bound_to_it(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        status, body = await pipelines.ask(scope="invoice-archive-writer")
        assert status == 200, body
        claims = claims_of(body)
        assert "ref" not in claims
        assert claims["user_email"] == "maintainer@shop.example"
        assert claims["environment_protected"] == "true"


@pytest.mark.parametrize(
    ("claims", "reason", "named"),
    [
        ({"project_id": "43", "job_project_id": "42"}, "fork", "job_project_id is 42 and project_id 43"),
        ({"job_project_id": "77"}, "fork", "job_project_id"),
        ({"job_project_id": None, "pipeline_source": "merge_request_event"}, "fork", "no job_project_id"),
        ({"pipeline_source": "merge_request_event"}, "source", "pipeline_source"),
        ({"pipeline_source": "api"}, "source", "pipeline_source"),
        ({"job_id": "901"}, "job_unknown", "no job 901"),
        ({"pipeline_id": "701"}, "job_mismatch", "job_id"),
        ({"user_id": "7"}, "job_mismatch", "job_id"),
        ({"ref": "feature/x", "ref_path": "refs/heads/feature/x"}, "job_mismatch", "ref_path is of branch:feature/x"),
        ({"ref_type": "tag", "ref_path": "refs/tags/main"}, "job_mismatch", "ref_path is of tag:main"),
        ({"project_path": "shop/old-billing"}, "project_mismatch", "project_path"),
        ({"environment": "production"}, "environment_mismatch", "environment is 'production'"),
        ({"environment": None, "environment_protected": None}, "environment_mismatch", "the job has none"),
        ({"environment_action": "access"}, "environment_action", "environment_action"),
        ({"environment_action": "verify", "environment_protected": None}, "environment_action", "protected"),
        ({"environment_action": None}, "environment_action", "no environment_action"),
    ],
)
async def test_a_job_that_is_not_meant_is_refused_by_the_claim_at_fault(
    tmp_path: Path, claims: dict[str, Any], reason: str, named: str
) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        status, body = await pipelines.ask(**claims)
        (event,) = pipelines.company.events()
        assert (status, event["reason"], event["verdict"]) == (403, reason, "refused")
        if event["told"]:
            assert named in body["error_description"]
        else:
            assert body["error_description"] == f"refused, decision {event['id']}; ask who runs the issuer"


async def test_an_action_other_than_deploying_is_for_environments_nobody_protects(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        status, body = await pipelines.ask(environment_action="verify", environment_protected="false")
        assert status == 200, body


async def test_a_tag_named_like_the_branch_is_not_the_branch(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        pipelines.runs(tag=True)
        claims = {"ref_type": "tag", "ref_path": "refs/tags/main"}
        status, reason, text = refusal_of(await pipelines.ask(**claims))
        assert (status, reason) == (403, "ref_mismatch")
        assert "tag:main" in text
        pipelines.runs()
        pipelines.company.gitlab.many["projects/42/repository/tags"].append({"name": "main"})
        pipelines.company.clock.pass_(61)
        assert refusal_of(await pipelines.ask())[1] == "ref_ambiguous"


async def test_sub_decides_nothing(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        tricked = "project_path:shop/billing:ref_type:branch:ref:main:ref_type:branch:ref:feature"
        status, _ = await pipelines.ask(sub=tricked)
        assert status == 200
        pipelines.runs(ref="x:ref:main")
        odd = {"sub": "project_path:shop/billing:ref_type:branch:ref:main", "ref": "x:ref:main"}
        assert refusal_of(await pipelines.ask(ref_path="refs/heads/x:ref:main", **odd))[1] == "ref_mismatch"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("job_id", 900),
        ("job_id", "0900"),
        ("project_id", "42 "),
        ("user_id", None),
        ("namespace_id", True),
        ("ref_protected", True),
        ("ref_path", "refs/heads/other"),
        ("ref_type", "tag"),
        ("runner_id", "3"),
        ("pipeline_source", ["push"]),
        ("environment", ""),
        ("jti", None),
        ("sha", {"a": 1}),
    ],
)
async def test_a_claim_of_another_type_than_gitlabs_is_no_token(tmp_path: Path, name: str, value: Any) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        status, body = await pipelines.ask(**{name: value})
        assert (status, body["error"]) == (400, "invalid_request")
        assert name in body["error_description"]
        assert pipelines.company.events() == []


async def test_a_token_of_another_gitlab_or_for_another_issuer_counts_for_nothing(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        stranger = SigningKey.generate_rs256()
        for token, named in (
            (stranger.sign(pipelines.claims()), "key"),
            (pipelines.token(iss="https://gitlab.elsewhere.example"), "another GitLab"),
            (pipelines.token(iss=pipelines.company.idp.url), "another GitLab"),
            (pipelines.token(aud="https://other.example"), "audience"),
            (pipelines.token(aud=[pipelines.company.url, "https://other.example"]), "audience"),
        ):
            status, body = await pipelines.agent().token(token, scope="release-publisher")
            assert (status, body["error"]) == (400, "invalid_request"), body
            assert named in body["error_description"], body
        assert pipelines.company.events() == []


async def test_a_new_key_of_gitlabs_counts_and_one_that_it_has_withdrawn_does_not(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        assert (await pipelines.ask())[0] == 200
        withdrawn = pipelines.token()
        pipelines.ci.key = SigningKey.generate_rs256()
        assert (await pipelines.ask())[0] == 200
        status, body = await pipelines.agent().token(withdrawn, scope="release-publisher")
        assert (status, body["error"]) == (400, "invalid_request")


async def test_a_job_is_no_person_and_a_person_no_job(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        agent, company = pipelines.agent(), pipelines.company
        for method, path in (("POST", "/sign-ins"), ("GET", "/explain"), ("GET", "/sessions"), ("GET", "/log")):
            status, body = await agent.call(method, path, pipelines.token())
            assert (status, body["error"]) == (401, "invalid_token"), path
            assert "a job's token signs nobody in; run this on your own machine" in body["error_description"]
        laptop, token = await company.signed_in()
        without = pipelines.token(job_id=None, sub="u-developer", aud="juniper-device")
        status, body = await laptop.token(without)
        assert (status, body["error"]) == (400, "invalid_request")
        status, body = await laptop.token(company.idp.token(job_id="900"))
        assert (status, body["error"]) == (400, "invalid_request")
        assert (await laptop.token(token))[0] == 200


async def test_without_pipelines_in_the_configuration_no_job_holds_anything(tmp_path: Path) -> None:
    def without(folder: Path) -> None:
        path = folder / "issuer.toml"
        path.write_text(re.sub(r'\[pipelines\]\nissuer = "[^"]*"\n', "", path.read_text()))

    async with open_pipelines(tmp_path, change=without) as pipelines:
        status, body = await pipelines.ask()
        assert (status, body["error"]) == (400, "invalid_request")
        assert "no pipeline holds anything here" in body["error_description"]


async def test_the_token_belongs_to_the_first_key_that_shows_it(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        agent, thief, token = pipelines.agent(), pipelines.agent(), pipelines.token()
        assert (await agent.call("GET", "/catalogue", token))[0] == 200
        status, body = await thief.token(token, scope="release-publisher")
        assert (status, body["refusal"]["reason"]) == (400, "job_bound")
        assert (await thief.call("GET", "/catalogue", token))[0] == 400
        assert (await agent.token(token, scope="release-publisher"))[0] == 200
        # Another token of the job is bound on its own, and a refusal binds as well as a yes.
        other = pipelines.token()
        assert (await thief.token(other, scope="no-such-scope"))[1]["error"] == "invalid_scope"
        assert (await agent.token(other, scope="release-publisher"))[0] == 400


@pytest.mark.parametrize("status", ["canceled", "success", "failed", "canceling", "waiting_for_resource"])
async def test_a_job_that_runs_no_more_holds_nothing_at_once(tmp_path: Path, status: str) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        agent, token = pipelines.agent(), pipelines.token()
        assert (await agent.token(token, scope="release-publisher"))[0] == 200
        pipelines.runs(status=status)
        answer = await agent.token(token, scope="release-publisher")
        assert refusal_of(answer)[:2] == (403, "job_ended")
        assert status in refusal_of(answer)[2]


async def test_who_started_the_job_is_asked_for_as_long_as_it_runs(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        company, agent, token = pipelines.company, pipelines.agent(), pipelines.token()
        assert (await agent.token(token, scope="release-publisher"))[0] == 200
        tables = company.gitlab.one
        for path, row, reason in (
            ("users/8", user(8, "maintainer", state="blocked"), "user_inactive"),
            ("projects/42/members/all/8", member(8, 20), "role"),
            ("projects/42/members/all/8", member(8, 40, expires_at="2020-01-01"), "not_a_member"),
            ("projects/42", {**tables["projects/42"], "archived": True}, "project_closed"),
            ("projects/42", {**tables["projects/42"], "path_with_namespace": "shop/other"}, "project_mismatch"),
        ):
            kept = tables[path]
            tables[path] = row
            company.clock.pass_(61)
            assert (await agent.token(token, scope="release-publisher"))[0] == 403
            assert company.events()[-1]["reason"] == reason
            tables[path] = kept
        company.clock.pass_(61)
        assert (await agent.token(token, scope="release-publisher"))[0] == 200


async def test_a_bot_may_start_pipelines(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        pipelines.company.gitlab.one["users/8"] = user(8, "project_42_bot", bot=True)
        assert (await pipelines.ask())[0] == 200


async def test_an_outsider_hears_an_id_and_the_trail_has_the_truth(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        company = pipelines.company
        company.gitlab.one["projects/43"] = {
            **company.gitlab.one["projects/42"],
            "id": 43,
            "path_with_namespace": "fork/billing",
        }
        company.gitlab.one["projects/43/members/all/8"] = member(8, 50)
        company.gitlab.one["projects/43/jobs/900"] = {
            **company.gitlab.one["projects/42/jobs/900"],
            "pipeline": {"id": 700, "project_id": 43, "ref": "main", "status": "running", "source": "push"},
        }
        own = {"project_id": "43", "job_project_id": "43", "project_path": "fork/billing"}
        status, body = await pipelines.ask(**own)
        (event,) = company.events()
        assert (status, body["refusal"]["reason"], body["refusal"]["id"]) == (403, None, event["id"])
        assert event["reason"] == "project_mismatch"
        assert event["job"]["project_path"] == "fork/billing"
        status, listing = await pipelines.agent().call("GET", "/catalogue", pipelines.token(**own))
        assert (status, listing["scopes"]) == (200, [])


async def test_a_path_that_was_given_to_another_project_opens_nothing(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        tables = pipelines.company.gitlab.one
        tables["projects/99"] = {**tables["projects/42"], "id": 99}
        tables["projects/99/members/all/8"] = member(8, 50)
        pipelines.runs()
        of_99 = {"id": 700, "project_id": 99, "ref": "main", "status": "running", "source": "push"}
        tables["projects/99/jobs/900"] = {**tables["projects/42/jobs/900"], "pipeline": of_99}
        status, body = await pipelines.ask(project_id="99", job_project_id="99")
        assert (status, body["refusal"]["reason"]) == (403, None)
        assert pipelines.company.events()[-1]["reason"] == "project_mismatch"


async def test_a_job_selects_nothing(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        for selected in ({"environment": "staging"}, {"ref": "branch:main"}, {"session": "abc"}):
            answer = await pipelines.agent().token(pipelines.token(), scope="release-publisher", **selected)
            assert refusal_of(answer)[1] == "selected"
            event = pipelines.company.events()[-1]
            assert selected.items() <= {**event["selected"], "session": event["session"]}.items()


async def test_a_denial_of_the_person_or_the_scope_holds_for_their_jobs(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        agent, token, desk = pipelines.agent(), pipelines.token(), pipelines.company.issuer.desk()
        for kind, value in (("user", "8"), ("scope", "release-publisher"), ("all", "")):
            await desk.act("deny", {"kind": kind, "value": value})
            assert refusal_of(await agent.token(token, scope="release-publisher"))[1] == "denied"
            await desk.act("undeny", {"kind": kind, "value": value})
        assert (await agent.token(token, scope="release-publisher"))[0] == 200


async def test_the_catalogue_shows_a_job_the_scopes_of_its_project(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        status, listing = await pipelines.agent().call("GET", "/catalogue", pipelines.token())
        assert status == 200
        held = {row["name"]: row["held"] for row in listing["scopes"]}
        assert held == {"invoice-archive-writer": True, "release-publisher": True, "ledger-production-reader": False}
        assert {row["activation"] for row in listing["scopes"]} == {"sign-in"}
        (reason,) = (row["reason"] for row in listing["scopes"] if not row["held"])
        assert "environment is 'staging'" in reason


async def test_sources_that_a_scope_names_are_taken_and_the_usual_ones_then_are_not(tmp_path: Path) -> None:
    def sources(folder: Path) -> None:
        path = folder / "policy" / "billing.toml"
        path.write_text(path.read_text().replace('ref = "branch:main"', 'ref = "branch:main"\nsources = ["api"]'))

    async with open_pipelines(tmp_path, change=sources) as pipelines:
        assert (await pipelines.ask(pipeline_source="api"))[0] == 200
        assert refusal_of(await pipelines.ask())[1] == "source"


async def test_a_merge_request_of_the_project_counts_where_policy_says_so_and_is_on_no_branch(tmp_path: Path) -> None:
    def requests(folder: Path) -> None:
        path = folder / "policy" / "billing.toml"
        origins = 'origins = ["pipeline", "laptop"]'
        path.write_text(path.read_text().replace(origins, f'{origins}\nsources = ["push", "merge_request_event"]'))

    async with open_pipelines(tmp_path, change=requests) as pipelines:
        # GitLab's API names the request's own ref, and the token the branch that it comes from.
        pipelines.runs(ref="refs/merge-requests/1/merge")
        status, body = await pipelines.ask(scope="invoice-archive-writer", pipeline_source="merge_request_event")
        assert status == 200, body
        assert not {"ref", "ref_path", "ci_config_ref_uri"} & claims_of(body).keys()
        assert pipelines.company.events()[-1]["job"]["ref"] == "branch:main"
        answer = await pipelines.ask(pipeline_source="merge_request_event")
        assert refusal_of(answer)[1] == "ref_mismatch"
        assert "the scope is for branch:main, and ref_path is of a merge request" in refusal_of(answer)[2]
        assert refusal_of(await pipelines.ask(scope="invoice-archive-writer"))[1] == "job_mismatch"


async def test_a_child_of_a_merge_request_s_pipeline_is_on_no_branch_either(tmp_path: Path) -> None:
    """GitLab gives it the parent's ref and merge request, so that its token names the branch and its source does not say why."""

    def children(folder: Path) -> None:
        path = folder / "policy" / "billing.toml"
        origins = 'origins = ["pipeline", "laptop"]'
        text = path.read_text().replace(
            'origins = ["pipeline"]', 'origins = ["pipeline"]\nsources = ["parent_pipeline"]'
        )
        path.write_text(text.replace(origins, f'{origins}\nsources = ["parent_pipeline"]'))

    async with open_pipelines(tmp_path, change=children) as pipelines:
        for scope in ("release-publisher", "invoice-archive-writer"):
            for kind in ("merge", "head", "train"):
                pipelines.runs(ref=f"refs/merge-requests/1/{kind}")
                answer = await pipelines.ask(scope=scope, pipeline_source="parent_pipeline")
                assert refusal_of(answer)[1] == "job_mismatch"
        pipelines.runs()
        assert (await pipelines.ask(pipeline_source="parent_pipeline"))[0] == 200


async def test_what_neither_scope_nor_gitlab_names_stands_in_no_token(tmp_path: Path) -> None:
    def anywhere(folder: Path) -> None:
        path = folder / "policy" / "billing.toml"
        text = path.read_text().replace('environment = "staging"\nref = "branch:main"', 'ref = "branch:main"')
        was = 'ref = "branch:main"\norigins = ["pipeline", "laptop"]'
        path.write_text(text.replace(was, 'ref = "branch:main"\norigins = ["pipeline"]'))

    async with open_pipelines(tmp_path, change=anywhere) as pipelines:
        status, body = await pipelines.ask(runner_id=None)
        assert status == 200, body
        assert not {"runner_id", "environment", "environment_protected"} & claims_of(body).keys()


async def test_projects_by_pattern_are_of_one_namespace(tmp_path: Path) -> None:
    def pattern(folder: Path) -> None:
        path = folder / "policy" / "billing.toml"
        text = path.read_text().replace(
            'about = "Publish a release from main"\nproject = "shop/billing"\nproject_id = 42',
            'about = "Publish"\nproject = "shop/*"\nnamespace_id = 5',
        )
        path.write_text(
            text.replace(
                'ref = "branch:main"\norigins = ["pipeline", "laptop"]', 'ref = "branch:main"\norigins = ["pipeline"]'
            )
        )

    async with open_pipelines(tmp_path, change=pattern) as pipelines:
        assert (await pipelines.ask())[0] == 200
        assert (await pipelines.ask(namespace_id="6"))[0] == 403
        assert pipelines.company.events()[-1]["reason"] == "namespace_mismatch"
        _, listing = await pipelines.agent().call("GET", "/catalogue", pipelines.token())
        assert "release-publisher" in {row["name"] for row in listing["scopes"] if row["held"]}


async def test_an_environment_that_is_gone_or_of_another_tier(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        environments = pipelines.company.gitlab.many["projects/42/environments"]
        environments[0] = environment("staging", tier="production")
        status, body = await pipelines.ask()
        assert (status, claims_of(body)["deployment_tier"]) == (200, "production")
        environments.clear()
        pipelines.company.clock.pass_(61)
        assert refusal_of(await pipelines.ask())[1] == "environment_missing"


async def test_an_environment_that_its_job_has_just_made_is_there(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        environments = pipelines.company.gitlab.many.pop("projects/42/environments")
        pipelines.company.gitlab.many["projects/42/environments"] = []
        assert refusal_of(await pipelines.ask())[1] == "environment_missing"
        pipelines.company.gitlab.many["projects/42/environments"] = environments
        pipelines.company.clock.pass_(4)
        assert refusal_of(await pipelines.ask())[1] == "environment_missing", "asked for every five seconds alone"
        pipelines.company.clock.pass_(2)
        assert (await pipelines.ask())[0] == 200


async def test_an_environment_that_is_not_there_is_asked_for_once_of_a_gitlab_that_is_slow(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        gitlab, clock = pipelines.company.gitlab, pipelines.company.clock
        gitlab.many["projects/42/environments"] = []
        answers = gitlab._filtered

        def slowly(path: str, request: Any) -> list[Row]:
            clock.pass_(6 if path.endswith("environments") else 0)
            return answers(path, request)

        gitlab._filtered = slowly  # type: ignore[method-assign]
        assert refusal_of(await pipelines.ask())[1] == "environment_missing"
        assert gitlab.asked.count("projects/42/environments") == 1


async def test_the_binding_outlives_a_restart(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        agent, token, ci = pipelines.agent(), pipelines.token(), pipelines.ci
        assert (await agent.token(token, scope="release-publisher"))[0] == 200
        clock = pipelines.company.clock
    async with open_pipelines(tmp_path, clock=clock) as again:
        # The same key signs at another address in this test, so the token is made anew with its jti.
        jti = jwt.decode(token, options={"verify_signature": False})["jti"]
        assert ci.key.kid == again.ci.key.kid
        status, body = await again.ask(jti=jti)
        assert (status, body["refusal"]["reason"]) == (400, "job_bound")


async def test_a_late_gitlab_makes_no_listing_with_holes(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        pipelines.company.gitlab.faults["projects/42/members/all/8"] = (502, {}, {})
        status, body = await pipelines.agent().call("GET", "/catalogue", pipelines.token())
        assert (status, body["error"]) == (503, "temporarily_unavailable")


async def test_a_job_whose_person_is_less_than_a_reporter_now_is_shown_no_scope(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        pipelines.company.gitlab.one["projects/42/members/all/8"] = member(8, 10)
        status, listing = await pipelines.agent().call("GET", "/catalogue", pipelines.token())
        assert (status, listing["scopes"]) == (200, [])
        _, body = await pipelines.ask()
        assert body["refusal"]["reason"] is None


async def test_a_signature_that_does_not_verify_ends_with_a_job_s_own_cure(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        token = SigningKey.generate_rs256().sign(pipelines.claims())
        _, body = await pipelines.agent().token(token, scope="release-publisher")
        assert body["error_description"].endswith("check id_tokens in the job's configuration, then run the job again")


async def test_a_job_s_deploy_token_is_its_agent_s_to_give_back(tmp_path: Path) -> None:
    minter = Minter()
    async with TestServer(minter.app()) as server:
        extra = f'[minter]\nurl = "{str(server.make_url("")).rstrip("/")}"\n'
        async with open_pipelines(tmp_path, change=write_all, extra=extra) as pipelines:
            minter.company = pipelines.company
            agent = pipelines.agent()
            status, body = await agent.token(pipelines.token(), scope="image-writer", audience="images")
            assert (status, body["target"]["username"]) == (200, "juniper-8-maintainer")
            (one,) = rows(pipelines.company)
            assert (one.identity, one.subject, one.user_id, one.thumbprint) == ("pipeline:", "42/900", 8, agent.key.kid)
            assert [await pipelines.agent().revoke(body["access_token"]), len(minter.living)] == [(200, b""), 1]
            async with ending(pipelines.company):
                assert (await agent.revoke(body["access_token"]))[0] == 200
                async with asyncio.timeout(20):
                    while minter.living:  # noqa: ASYNC110  # the minter is told by a task of the issuer's own
                        await asyncio.sleep(0.01)
