"""A laptop is within the job: over random GitLabs, claim by claim, and by name where a scope is wider than that."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from juniperd.issuer import cures, parity
from juniperd.issuer.parity import Parity
from juniperd.issuer.policy import Activation, Scope
from juniperd.issuer.verdict import Permitted, Refused
from juniperd.model import Origin
from tests.issuer.doubles import Row, environment, level, member, project, protected_branch, protected_environment, user
from tests.issuer.worlds import World, a_scope, fork, protected_tag

WORLDS = 10_000
BRANCHES = ("main", "feature/x", "release/1", "v1.0")
TAGS = ("v1.0", "v2", "main", "release/1")
PATTERNS = ("main", "*", "**", "m*", "release/*", "feature*", "v*", "MAIN", "*1", "v1.0")
ENVIRONMENTS = ("staging", "review/42", "production", "stag-eu")
TIERS = ("production", "staging", "testing", "development", "other")
GROUPS = (91, 92)


def entries(dice: random.Random) -> list[Row]:
    """Access entries of every kind, odd ones too."""
    return [
        level(
            dice.choice((0, 30, 30, 40, 60, None)),
            user_id=dice.choice((None, None, 7, 8)),
            group_id=dice.choice((None, None, None, *GROUPS)),
            **dice.choice(({}, {}, {}, {"group_inheritance_type": 1}, {"deploy_key_id": 4}, {"member_role_id": 2})),
        )
        for _ in range(dice.choice((0, 1, 1, 2, 3)))
    ]


def environments(dice: random.Random) -> list[Row]:
    return [
        environment(name, dice.choice(TIERS), dice.choice(("available",) * 5 + ("stopped", "stopping")))
        for name in ENVIRONMENTS
        if dice.random() < 0.9
    ]


def protections(dice: random.Random, names: tuple[str, ...]) -> list[Row]:
    return [
        protected_environment(
            dice.choice(names),
            entries(dice),
            approvals=dice.choice((0, 0, 0, 0, 1)),
            rules=dice.choice((None, None, None, [{"id": 1, "required_approvals": 1}])),
        )
        for _ in range(dice.choice((0, 0, 0, 1, 2)))
    ]


def a_world(dice: random.Random) -> World:
    """One GitLab: mostly in order, so that much is permitted, and broken here and there."""
    odd = dice.random() < 0.15
    member_row = member(
        7,
        dice.choice((20, 30, 30, 40, 40, 50)),
        expires_at=dice.choice((None,) * 6 + ("2026-09-21", "2026-12-01")),
        **dice.choice(({}, {}, {}, {"member_role": {"id": 1, "base_access_level": dice.choice((20, 30, 40))}})),
    )
    groups = [{"id": 5, "name": "shop", "full_path": "shop"}]
    deep = dice.random() < 0.3
    if deep:
        groups.append({"id": 6, "name": "eu", "full_path": "shop/eu"})
    place = {"id": 6 if deep else 5, "kind": "group", "full_path": "shop/eu" if deep else "shop", "parent_id": None}
    path = "shop/eu/billing" if deep else "shop/billing"
    if odd and dice.random() < 0.2:
        path = path.replace("billing", "renamed")
    changed: Row = dice.choice(
        ({"archived": True}, {"builds_access_level": "disabled"}, {"ci_config_path": "x.yml@shop/ci"}, {"id": 43}, {})
    )
    forked = dice.random() < 0.1
    if forked:
        groups, made = [], fork(**(changed if odd else {}))
    else:
        made = project(path=path, namespace=place, **(changed if odd else {}))
    return World(
        version=dice.choice(("16.5.0", "17.9.1", "18.3.2-ee", "18.4.0", "19.2.0-ee") if not odd else ("16.4.0", "20.1.0")),
        user=user(7, "developer", **(dice.choice(({"state": "blocked"}, {"bot": True}, {"locked": True})) if odd else {})),
        member=None if odd and dice.random() < 0.2 else member_row,
        project=made,
        branches=[protected_branch(dice.choice(PATTERNS), entries(dice), entries(dice)) for _ in range(dice.randrange(3))],
        tags=[protected_tag(dice.choice(PATTERNS), entries(dice)) for _ in range(dice.randrange(3))],
        environments=environments(dice),
        protected_environments=protections(dice, (*ENVIRONMENTS, "*", "review/*", "STAGING")),
        groups=groups if not odd or dice.random() < 0.7 else groups[:-1],
        group_protections={number: protections(dice, TIERS) for number in (5, 6) if dice.random() < 0.3},
        group_members={
            (number, inherited): member(7, dice.choice((10, 20, 30, 40, 50)))
            for number in (*GROUPS, 5, 6)
            for inherited in (False, True)
            if dice.random() < 0.5
        },
        named_branches=[b for b in BRANCHES if dice.random() < 0.8],
        named_tags=[t for t in TAGS if dice.random() < 0.4],
        hidden=frozenset({dice.choice(("protected_branches", "protected_environments", "groups"))}) if odd and dice.random() < 0.2 else frozenset(),
    )  # fmt: skip


def scope_of(dice: random.Random, world: World) -> tuple[Scope, str | None, str | None]:
    """A scope of that world with what a laptop selects in it."""
    ref = dice.choice(
        (None, None, "branch:main", "branch:*", "branch:release/*", "tag:v1.0", "tag:v*", "tag:release/1")
    )
    wanted = dice.choice(ENVIRONMENTS)
    scope = a_scope(
        project=str(world.project["path_with_namespace"]) if dice.random() < 0.95 else "shop/elsewhere",
        environment=wanted if dice.random() < 0.7 else {"review/42": "review/*"}.get(wanted, f"{wanted[:4]}*"),
        ref=ref,
        role=dice.choice((20, 30, 30)),
        sources=dice.choice(
            (frozenset({"push", "web", "schedule"}), frozenset({"push"}), frozenset({"merge_request_event"}), frozenset({"api"}), frozenset({"trigger"}))
        )
        if dice.random() < 0.3
        else a_scope().sources,
    )  # fmt: skip
    names = TAGS if ref and ref.startswith("tag:") else BRANCHES
    selected = None if ref is None or "*" not in ref else f"{ref.partition(':')[0]}:{dice.choice(names)}"
    return scope, wanted, selected


def test_in_ten_thousand_worlds_a_laptop_holds_nothing_that_the_persons_own_job_would_not() -> None:
    held = jobs = 0
    for seed in range(WORLDS):
        dice = random.Random(seed)
        world = a_world(dice)
        scope, wanted, ref = scope_of(dice, world)
        found = world.compared(scope, environment=wanted, ref=ref)
        assert found.within, (seed, scope, found)
        held += found.laptop.holds
        jobs += found.job.holds
    # The worlds are worth something only where both are often permitted, and the laptop less often.
    assert WORLDS * 0.05 < held < jobs < WORLDS * 0.6


def test_the_laptop_is_narrower_where_gitlab_takes_the_most_permissive_of_several() -> None:
    branches = [protected_branch("main", [level(0)], []), protected_branch("m*", [level(30)], [])]
    found = World(branches=branches).compared(a_scope(ref="branch:main"))
    assert (found.job.holds, found.laptop.holds, found.within) == (True, False, True)
    assert parity.verdict_line(found) == "the laptop holds nothing, and is within the job"


def test_claim_by_claim_only_what_is_explained_differs() -> None:
    found = World().compared(a_scope())
    assert found.within
    assert parity.verdict_line(found) == "the laptop is within the job"
    assert found.source == "push"
    rows = {(row.target, row.claim): row for row in found.rows}
    for target in ("aws-staging", "staging-eu"):
        for same in ("aud", "juniper_scope", "project_id", "user_access_level", "environment", "life"):
            row = rows[target, same]
            assert row.job == row.laptop is not None
            assert not row.why
        for other in ("sub", "juniper_origin", "job_id", "pipeline_source", "sha"):
            assert rows[target, other].why
    assert (rows["aws-staging", "life"].laptop, rows["aws-staging", "life of what it becomes"].laptop) == (300, 3600)
    assert ("staging-eu", "life of what it becomes") not in rows
    assert rows["aws-staging", "https://aws.amazon.com/roles"].why == ""
    assert rows["aws-staging", "tag juniper_origin"].why
    assert rows["aws-staging", "tag juniper_scope"].job == rows["aws-staging", "tag juniper_scope"].laptop
    assert rows["staging-eu", "groups"].job == rows["staging-eu", "groups"].laptop
    assert rows["aws-staging", "job_id"].laptop is None


@pytest.mark.parametrize(
    ("fields", "changes", "reason"),
    [
        ({"ref": "branch:main", "laptop_basis": "merge"}, {}, "gitlab_push"),
        ({"ci_config_elsewhere": True}, {"project": project(ci_config_path="x.yml@shop/ci")}, "gitlab_ci_config"),
        ({"origins": frozenset({Origin.LAPTOP})}, {}, "origin"),
        ({}, {"version": "20.0.0"}, "gitlab_release"),
    ],
)
def test_a_scope_that_is_wider_than_the_persons_own_job_says_so(
    fields: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    found = replace(World(), **changes).compared(a_scope(**fields))
    assert (found.laptop.holds, found.job.holds, found.job.reason) == (True, False, reason)
    assert not found.within
    assert "NOT within" in parity.verdict_line(found)


@pytest.mark.parametrize("source", ["trigger", "merge_request_event", "parent_pipeline"])
def test_a_scope_of_pipelines_that_nobody_starts_by_hand_is_no_laptops(source: str) -> None:
    case, verdict = World().judged(a_scope(sources=frozenset({source})))
    assert isinstance(verdict, Refused)
    assert (verdict.reason, source in verdict.text) == ("source", True)
    assert case.facts.user.value is not None


def test_a_difference_that_nobody_explained_is_not_within() -> None:
    found = World().compared(a_scope())
    row = parity.Row("aws-staging", "aud", "a", "b", "nothing that may differ", right=False)
    wrong = Parity(found.job, found.laptop, (*found.rows, row))
    assert not wrong.within
    assert parity.verdict_line(wrong) == "the laptop is NOT within the job: aud"


def test_a_laptop_refused_everything_is_within() -> None:
    found = replace(World(), member=None).compared(a_scope())
    assert found.within
    assert parity.verdict_line(found) == "neither holds anything: the laptop is within the job"


def test_worlds_are_judged_by_the_real_decision() -> None:
    case, verdict = World().judged(a_scope())
    assert isinstance(verdict, Permitted)
    assert {a.question for a in case.facts.asked} >= {"GET /projects/42", "GET /projects/42/protected_branches"}


def test_a_sleeping_scope_of_a_pattern_is_woken_at_the_ref_that_was_asked_for() -> None:
    world = World(branches=[])
    for pattern, ref, narrow in (("branch:m*", "branch:main", " --ref branch:main"), ("branch:main", None, "")):
        scope = a_scope(ref=pattern, activation=Activation.SESSION)
        case, verdict = world.judged(scope, ref=ref)
        assert isinstance(verdict, Refused)
        opened = f"juniper session open shop/billing --env staging{narrow}"
        assert verdict.text.endswith(f"; run: {opened}")
        assert cures.cure(verdict, case) == f"open a debugging session: {opened}"
