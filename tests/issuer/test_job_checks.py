"""What a job must show, check by check: the good job passes, and each change is a refusal with its own reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from juniperd.issuer import decision, gitlab_rules, job_checks, parity
from juniperd.issuer.facts import Fact, Membership, Trouble
from juniperd.issuer.hearing import aimed
from juniperd.issuer.job import job_of
from juniperd.issuer.parity import Chosen
from juniperd.issuer.policy import ApiTarget, GitTarget, RegistryTarget, RelyingParty
from juniperd.issuer.token_request import DEPLOY_TOKEN, TokenRequest
from juniperd.issuer.verdict import JobCase, Permitted, Refused, Verdict
from juniperd.jose import VerifiedClaims
from juniperd.model import Kind, Origin
from tests.issuer.test_gitlab_rules import ruling
from tests.issuer.worlds import AWS, World, a_scope

LATE = Trouble("gitlab_down", passing=True, text="GitLab does not answer; try again")
"""What is told where a fact cannot be had."""
Change = Callable[[JobCase], JobCase]


def good(**scope: Any) -> JobCase:
    """A Developer's job on main of a project where that is allowed."""
    world = World(branches=[])
    fields = {"ref": "branch:main", **scope}
    case, _ = world.judged(a_scope(**fields))
    chosen = Chosen(case.facts, "branch:main", "staging")
    release = gitlab_rules.release(world.version)
    assert release is not None
    return parity._job_case(case, chosen, "push", release)


def fact(name: str, value: object = None, trouble: Trouble | None = None) -> Change:
    def change(case: JobCase) -> JobCase:
        old: Fact[Any] = getattr(case.facts, name)
        made: dict[str, Any] = {name: Fact(old.asked, value, trouble)}
        return replace(case, facts=replace(case.facts, **made))

    return change


def field_of(name: str, /, **fields: Any) -> Change:
    def change(case: JobCase) -> JobCase:
        value: Any = getattr(case.facts, name).value
        return fact(name, replace(value, **fields))(case)

    return change


def job(**fields: Any) -> Change:
    return lambda case: replace(case, job=replace(case.job, **fields))


def scope(**fields: Any) -> Change:
    return lambda case: replace(case, scope=replace(case.scope, **fields))


def unasked(case: JobCase) -> JobCase:
    return replace(case, facts=replace(case.facts, named_refs=None))


def refusal(verdict: Verdict) -> tuple[str, str, bool]:
    assert isinstance(verdict, Refused)
    return verdict.rule, verdict.reason, verdict.passing


def test_the_good_job_holds_the_scope() -> None:
    verdict = decision.decide(good())
    assert isinstance(verdict, Permitted)
    assert (verdict.grant.origin, verdict.grant.ref) == (Origin.PIPELINE, "branch:main")


@pytest.mark.parametrize(
    ("change", "rule", "reason"),
    [
        (scope(origins=frozenset({Origin.LAPTOP})), "0", "origin"),
        (job(runs_in=43), "0", "fork"),
        (job(runs_in=None, source="merge_request_event"), "0", "fork"),
        (job(source="api"), "0", "source"),
        (fact("job"), "1", "job_unknown"),
        (field_of("job", id=1), "1", "job_mismatch"),
        (field_of("job", project_id=43), "1", "job_mismatch"),
        (field_of("job", pipeline_id=1), "1", "job_mismatch"),
        (field_of("job", user_id=8), "1", "job_mismatch"),
        (field_of("job", ref="branch:other"), "1", "job_mismatch"),
        (field_of("job", status="pending"), "1", "job_ended"),
        (fact("project"), "2", "project_mismatch"),
        (field_of("project", path="shop/other"), "2", "project_mismatch"),
        (field_of("project", id=43), "2", "project_mismatch"),
        (scope(project_id=43), "2", "project_mismatch"),
        (scope(project="shop/other"), "2", "project_mismatch"),
        (scope(namespace_id=6), "2", "namespace_mismatch"),
        (job(namespace_id=6), "", ""),
        (field_of("project", archived=True), "2", "project_closed"),
        (field_of("project", ci_enabled=False), "2", "ci_disabled"),
        (field_of("project", ci_config_inside=False), "2", "ci_config_elsewhere"),
        (fact("user"), "2", "user_inactive"),
        (field_of("user", id=8), "2", "user_inactive"),
        (field_of("user", state="blocked"), "2", "user_inactive"),
        (field_of("user", locked=True), "2", "user_inactive"),
        (field_of("user", bot=True), "", ""),
        (fact("membership"), "2", "not_a_member"),
        (fact("membership", Membership(level=20, active=True, expires=None)), "2", "role"),
        (job(ref="branch:other"), "1", "job_mismatch"),
        (scope(ref="branch:release/*"), "3", "ref_mismatch"),
        (scope(ref="tag:main"), "3", "ref_mismatch"),
        (job(ref=None), "3", "ref_mismatch"),
        (unasked, "3", "ref_missing"),
        (fact("named_refs", frozenset()), "3", "ref_missing"),
        (fact("named_refs", frozenset({"tag:main"})), "3", "ref_missing"),
        (fact("named_refs", frozenset({"branch:main", "tag:main"})), "3", "ref_ambiguous"),
        (job(environment="production"), "4", "environment_mismatch"),
        (job(environment=None), "4", "environment_mismatch"),
        (job(environment_action="verify", environment_protected=True), "4", "environment_action"),
        (job(environment_action="verify"), "", ""),
        (fact("environment"), "4", "environment_missing"),
        (field_of("environment", name="Staging"), "4", "environment_missing"),
        (scope(environment=None), "", ""),
        (lambda case: unasked(scope(ref=None)(case)), "", ""),
    ],
)  # fmt: skip
def test_one_change_is_one_refusal(change: Change, rule: str, reason: str) -> None:
    verdict = decision.decide(change(good()))
    assert isinstance(verdict, Permitted) if not reason else refusal(verdict) == (rule, reason, False), verdict
    assert isinstance(verdict, Permitted) or "; " in verdict.text, "a refusal ends with its cure"


@pytest.mark.parametrize("name", ["job", "project", "user", "membership", "named_refs", "environment"])
def test_what_gitlab_does_not_tell_now_is_a_refusal_that_passes(name: str) -> None:
    verdict = decision.decide(fact(name, trouble=LATE)(good()))
    assert refusal(verdict)[1:] == ("gitlab_down", True)


def test_each_check_says_what_it_looked_at() -> None:
    for case in (good(), unasked(good(ref=None)), job(ref=None)(unasked(good(ref=None)))):
        _, steps = decision.explain(case)
        assert len(steps) == len(job_checks.JOB_CHECKS)
        assert all(step.asked for step in steps)
    assert steps[-2].asked == "the token's ref"
    assert steps[-2].answered == "neither branch nor tag"


# --- the token --------------------------------------------------------------------------------------------------------

CLAIMS: dict[str, Any] = {
    "job_id": "900", "pipeline_id": "700", "project_id": "42", "project_path": "shop/billing", "namespace_id": "5",
    "user_id": "8", "pipeline_source": "push", "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main",
    "ref_protected": "true", "jti": "j", "exp": 1,
}  # fmt: skip


def test_a_merge_request_s_own_ref_is_neither_branch_nor_tag() -> None:
    named = job_of(VerifiedClaims(CLAIMS | {"pipeline_source": "merge_request_event"}), "t", "d")
    assert named.ref is None, "GitLab names the branch that it comes from (Ci::Pipeline#source_ref_path)"
    of_request = CLAIMS | {"ref": "fix", "ref_path": "refs/merge-requests/1/head"}
    found = job_of(VerifiedClaims(of_request), "t", "d")
    assert (found.ref, found.runner_id, found.runs_in, found.said) == (None, None, None, {})
    assert (found.environment, found.protected_environment, found.environment_action) == (None, False, None)


# --- the target -------------------------------------------------------------------------------------------------------

IMAGES = RegistryTarget(
    RelyingParty("images", Kind.REGISTRY, "", host="r.example", provider="gitlab"), ("read_registry",)
)


def asked(audience: str | None, kind: str) -> TokenRequest:
    return TokenRequest("e30.e30.c2ln", "invoice-archive-writer", audience, requested_token_type=kind)


def test_a_deploy_token_is_made_where_there_is_one_to_make() -> None:
    case = good(targets=(AWS, IMAGES))
    verdict = decision.decide(case)
    assert aimed(asked("images", DEPLOY_TOKEN), case.scope, verdict) == (verdict, IMAGES)
    refused, target = aimed(asked("aws-staging", DEPLOY_TOKEN), case.scope, verdict)
    assert (refusal(refused)[1], target) == ("token_type", AWS)
    refused, target = aimed(asked(None, DEPLOY_TOKEN), case.scope, verdict)
    assert (refusal(refused)[1], target) == ("unknown_target", None)
    assert "aws-staging, images" in refused.text  # type: ignore[union-attr]


# --- what a laptop is held against ------------------------------------------------------------------------------------


def test_deploy_tokens_and_what_is_made_of_others_are_compared_too() -> None:
    code = GitTarget(RelyingParty("code", Kind.GIT, "", host="gitlab.example"))
    api = ApiTarget(RelyingParty("api", Kind.API, "https://api.example"))
    ecr = RegistryTarget(
        RelyingParty("ecr", Kind.REGISTRY, "", host="1.dkr.ecr.eu-west-1.amazonaws.com", provider="ecr")
    )
    found = World().compared(a_scope(targets=(AWS, IMAGES, code, api, ecr)))
    rows = {(row.target, row.claim): (row.job, row.laptop) for row in found.rows}
    assert rows["images", "scopes"] == (["read_registry"], ["read_registry"])
    assert rows["code", "deploy token of project"] == (42, 42)
    assert rows["code", "life"] == (3600, 3600)
    assert rows["ecr", "made of"] == ("what the scope holds at aws",) * 2
    assert rows["api", "scope"] == ("invoice-archive-writer",) * 2
    assert found.within


@pytest.mark.parametrize(
    ("job_s", "laptop_s", "right", "why"),
    [
        (3600, 1800, True, "a laptop's ends with its session"),
        (1800, 3600, False, "lives longer"),
        (3600, None, False, "lives longer"),
    ],
)
def test_a_laptop_may_end_sooner_and_never_later(job_s: object, laptop_s: object, why: str, *, right: bool) -> None:
    row = parity._row("aws-staging", "life", job_s, laptop_s, both=True)
    assert (row.right, row.why) == (right, why)


@pytest.mark.parametrize(("claim", "laptop"), [("aud", "b"), ("job_id", "901"), ("groups", [])])
def test_no_other_difference_is_right(claim: str, laptop: object) -> None:
    row = parity._row("aws-staging", claim, "a", laptop, both=True)
    assert (row.right, row.why) == (False, "nothing that may differ")


@pytest.mark.parametrize(
    ("world", "ref", "on", "rule"),
    [
        (World(hidden=frozenset({"protected_tags"})), None, "staging", "protections"),
        (World(hidden=frozenset({"branches"})), "branch:main", "staging", "ref"),
        (World(branches=[]), "commit:d3b0738", "staging", "ref"),
        (World(), None, None, ""),
        (World(groups=[{"id": 5, "full_path": "shop"}, {"id": 6, "full_path": "x"}], hidden=frozenset()), None, "staging", ""),
    ],
)  # fmt: skip
def test_gitlab_s_rules_where_gitlab_says_little(world: World, ref: str | None, on: str | None, rule: str) -> None:
    found = ruling(world, ref=ref, on=on)
    assert (found.allowed, found.rule) == (not rule, rule)
