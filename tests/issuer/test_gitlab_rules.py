"""What GitLab would let a job reach that a person writes: each row a rule of GitLab's own, with the verdict it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from juniperd.issuer import gitlab_rules
from juniperd.issuer.gitlab_rules import Ruling
from tests.issuer.doubles import (
    environment,
    level,
    member,
    project,
    protected_branch,
    protected_environment,
    user,
)
from tests.issuer.worlds import TODAY, World, a_scope, fork, protected_tag

Change = Callable[[World], object]
MAINTAINERS, DEVELOPERS, NOBODY, ADMINS = [level(40)], [level(30)], [level(0)], [level(60)]
SEVEN, EIGHT, GROUP = level(None, user_id=7), level(None, user_id=8), level(None, group_id=91)
KEY = level(40, deploy_key_id=3)


def ruling(world: World, *, ref: str | None = None, on: str | None = "staging") -> Ruling:
    facts = world.facts(a_scope(), on, ref)
    release = gitlab_rules.release(world.version)
    return gitlab_rules.would_run(facts, ref=ref, environment=on, release=release, today=TODAY)


def set_(**fields: Any) -> Change:
    def change(world: World) -> None:
        for name, value in fields.items():
            assert hasattr(world, name), name
            setattr(world, name, value)

    return change


def branches(*rows: tuple[str, list[Any]]) -> Change:
    return set_(branches=[protected_branch(name, push, MAINTAINERS) for name, push in rows])


def tags(*rows: tuple[str, list[Any]]) -> Change:
    return set_(tags=[protected_tag(name, create) for name, create in rows])


def environments(*rows: tuple[str, list[Any]], **others: Any) -> Change:
    return set_(protected_environments=[protected_environment(n, d, **others) for n, d in rows])


def tiers(*rows: tuple[str, list[Any]], at: int | None = None, **others: Any) -> Change:
    def change(world: World) -> None:
        world.group_protections[5] = [protected_environment(n, d, **others) for n, d in rows]
        if at is not None:
            world.group_members[5, True] = member(7, at)

    return change


def both(*changes: Change) -> Change:
    def change(world: World) -> None:
        for one in changes:
            one(world)

    return change


def in_group(number: int, access: int = 30, *, inherited: bool = False) -> Change:
    return lambda world: world.group_members.__setitem__((number, inherited), member(7, access))


A_FORK = set_(project=fork(), groups=[])
RUNS, MAIN, V1 = "", "branch:main", "tag:v1.0"
# world, ref, what GitLab says: RUNS, or the rule that stops it
ROWS: list[tuple[str, Change, str | None, str]] = [
    # who: Users API, members, create_pipeline (Developer)
    ("a Developer, on a new branch", set_(), None, RUNS),
    ("a Maintainer", set_(member=member(7, 40)), None, RUNS),
    ("an Owner", set_(member=member(7, 50)), None, RUNS),
    ("a Reporter creates no pipeline", set_(member=member(7, 20)), None, "create_pipeline"),
    ("a Planner creates no pipeline", set_(member=member(7, 15)), None, "create_pipeline"),
    ("a Guest creates no pipeline", set_(member=member(7, 10)), None, "create_pipeline"),
    ("no member", set_(member=None), None, "membership"),
    ("a membership that ended today", set_(member=member(7, 40, expires_at="2026-09-21")), None, "membership"),
    ("a membership until tomorrow", set_(member=member(7, 40, expires_at="2026-09-22")), None, RUNS),
    ("a membership that waits for approval", set_(member=member(7, 40, membership_state="awaiting")), None, "membership"),
    ("a custom role counts as its base", set_(member=member(7, 30, member_role={"id": 1, "base_access_level": 20})), None, "create_pipeline"),
    ("a blocked account", set_(user=user(7, "developer", state="blocked")), None, "user"),
    ("a deactivated account", set_(user=user(7, "developer", state="deactivated")), None, "user"),
    ("a locked account", set_(user=user(7, "developer", locked=True)), None, "user"),
    ("a bot is nobody's own job", set_(user=user(7, "developer", bot=True)), None, "user"),
    ("a Reporter whom the protection names: the exception for them is left out", both(set_(member=member(7, 20)), environments(("staging", [SEVEN]))), None, "create_pipeline"),
    ("an administrator is nobody special", both(set_(user=user(7, "developer", is_admin=True)), environments(("staging", MAINTAINERS))), None, "deploy"),
    # the project: archived, leaving, builds, configuration elsewhere
    ("archived", set_(project=project(archived=True)), None, "project"),
    ("marked for deletion", set_(project=project(marked_for_deletion_on="2026-10-01")), None, "project"),
    ("CI/CD is off", set_(project=project(builds_access_level="disabled")), None, "builds"),
    ("CI/CD is for members", set_(project=project(builds_access_level="private")), None, RUNS),
    ("jobs are off", set_(project=project(jobs_enabled=False)), None, "builds"),
    ("configuration in another project", set_(project=project(ci_config_path="ci.yml@infra/ci")), None, "ci_config"),
    ("configuration at a URL", set_(project=project(ci_config_path="https://ci.example/x.yml")), None, "ci_config"),
    ("a fork of one's own is below no group of its source's", both(A_FORK, tiers(("staging", NOBODY))), None, RUNS),
    ("a fork protects its own branches", both(A_FORK, branches(("main", NOBODY))), MAIN, "push"),
    ("configuration at another path of its own", set_(project=project(ci_config_path="ci/main.yml")), None, RUNS),
    # a new branch: only a wildcard over every name stands in the way
    ("main protected says nothing of a new branch", branches(("main", NOBODY)), None, RUNS),
    ("release/* says nothing of a new branch", branches(("release/*", NOBODY)), None, RUNS),
    ("* for Maintainers", branches(("*", MAINTAINERS)), None, "push"),
    ("* for Developers", branches(("*", DEVELOPERS)), None, RUNS),
    ("* for nobody, ** for Developers: one that lets in is enough", branches(("*", NOBODY), ("**", DEVELOPERS)), None, RUNS),
    # a named branch: push, for merging runs what others reviewed
    ("push for Maintainers, a Developer", branches(("main", MAINTAINERS)), MAIN, "push"),
    ("push for Maintainers, a Maintainer", both(branches(("main", MAINTAINERS)), set_(member=member(7, 40))), MAIN, RUNS),
    ("push for Developers", branches(("main", DEVELOPERS)), MAIN, RUNS),
    ("push for nobody, an Owner", both(branches(("main", NOBODY)), set_(member=member(7, 50))), MAIN, "push"),
    ("push for administrators is nobody's here", both(branches(("main", ADMINS)), set_(member=member(7, 50))), MAIN, "push"),
    ("no entry at all", branches(("main", [])), MAIN, "push"),
    ("push for this person", branches(("main", [SEVEN])), MAIN, RUNS),
    ("push for another person", branches(("main", [EIGHT])), MAIN, "push"),
    ("push for a group they are in", both(branches(("main", [GROUP])), in_group(91)), MAIN, RUNS),
    ("push for a group they are not in", branches(("main", [GROUP])), MAIN, "push"),
    ("push for a group where they report", both(branches(("main", [GROUP])), in_group(91, 20)), MAIN, "push"),
    ("push for a deploy key", both(branches(("main", [KEY])), set_(member=member(7, 50))), MAIN, "push"),
    ("an entry of an unknown kind", branches(("main", [level(None, member_role_id=5)])), MAIN, "push"),
    ("two protections, one lets in", branches(("main", NOBODY), ("m*", DEVELOPERS)), MAIN, RUNS),
    ("a wildcard crosses slashes", both(branches(("release*1", MAINTAINERS)), set_(named_branches=["release/v/1"])), "branch:release/v/1", "push"),
    ("case counts", branches(("MAIN", NOBODY)), MAIN, RUNS),
    ("what stands between two stars counts", branches(("m*x*n", NOBODY)), MAIN, RUNS),
    ("the whole name counts", branches(("ma", NOBODY), ("ain", NOBODY)), MAIN, RUNS),
    ("an unprotected branch", set_(), "branch:feature/x", RUNS),
    ("a branch and a tag of one name", set_(named_tags=["main"]), MAIN, "ref"),
    # a tag: who may create it
    ("a tag nobody protects", set_(), V1, RUNS),
    ("v* for Maintainers, a Developer", tags(("v*", MAINTAINERS)), V1, "create"),
    ("v* for Maintainers, a Maintainer", both(tags(("v*", MAINTAINERS)), set_(member=member(7, 40))), V1, RUNS),
    ("v* for Developers", tags(("v*", DEVELOPERS)), V1, RUNS),
    ("v* for nobody, v1.0 for this person", tags(("v*", NOBODY), ("v1.0", [SEVEN])), V1, RUNS),
    ("a protected branch of the tag's name", branches(("v1.0", NOBODY)), V1, RUNS),
    # environments of the project: every protection must allow
    ("no protection", set_(), None, RUNS),
    ("staging for Developers", environments(("staging", DEVELOPERS)), None, RUNS),
    ("staging for Maintainers", environments(("staging", MAINTAINERS)), None, "deploy"),
    ("staging for this person", environments(("staging", [SEVEN])), None, RUNS),
    ("staging for a group they are in", both(environments(("staging", [GROUP])), in_group(91)), None, RUNS),
    ("staging for a group they inherit", both(environments(("staging", [level(None, group_id=91, group_inheritance_type=1)])), in_group(91, inherited=True)), None, RUNS),
    ("inheriting is not being in it", both(environments(("staging", [GROUP])), in_group(91, inherited=True)), None, "deploy"),
    ("two protections, one does not allow", environments(("staging", DEVELOPERS), ("stag*", MAINTAINERS)), None, "deploy"),
    ("one approval", environments(("staging", DEVELOPERS), approvals=1), None, "approvals"),
    ("an approval rule", environments(("staging", DEVELOPERS), rules=[{"id": 1, "required_approvals": 1}]), None, "approvals"),
    ("production protected, staging not", environments(("production", MAINTAINERS)), None, RUNS),
    ("a stopped environment starts again", set_(environments=[environment("staging", state="stopped")]), None, RUNS),
    ("an environment no job has made", set_(environments=[]), None, "environment"),
    # environments of groups: by tier, with the role there
    ("the group's staging for Developers there", tiers(("staging", DEVELOPERS), at=30), None, RUNS),
    ("the group's staging for Maintainers there", tiers(("staging", MAINTAINERS), at=30), None, "deploy"),
    ("a Maintainer of the project who is none there", both(tiers(("staging", MAINTAINERS), at=30), set_(member=member(7, 40))), None, "deploy"),
    ("no member there", tiers(("staging", DEVELOPERS)), None, "deploy"),
    ("the group's production", tiers(("production", MAINTAINERS)), None, RUNS),
    ("the tier decides, and not the name", both(tiers(("production", MAINTAINERS), at=30), set_(environments=[environment("staging", "production")])), None, "deploy"),
    ("the group's approvals", tiers(("staging", DEVELOPERS), at=30, approvals=2), None, "approvals"),
    ("project and group, both must allow", both(environments(("staging", DEVELOPERS)), tiers(("staging", MAINTAINERS), at=30)), None, "deploy"),
    # what is not shown could hide a protection
    ("protected branches hidden", set_(hidden=frozenset({"protected_branches"})), None, "protections"),
    ("protected environments hidden", set_(hidden=frozenset({"protected_environments"})), None, "protections"),
    ("a group above is missing", set_(groups=[]), None, "protections"),
    # releases
    ("GitLab 16.4 says no environment_action", set_(version="16.4.8"), None, "release"),
    ("GitLab 16.5", set_(version="16.5.0"), None, RUNS),
    ("GitLab 19.2", set_(version="19.2.1-ee"), None, RUNS),
    ("a GitLab that nobody has read yet", set_(version="20.0.0"), None, "release"),
    ("no version at all", set_(version="unknown"), None, "release"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "ref", "rule"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_gitlabs_rules(change: Change, ref: str | None, rule: str) -> None:
    world = World()
    change(world)
    found = ruling(world, ref=ref)
    assert (found.allowed, found.rule) == (rule == RUNS, rule)


def test_there_are_rows_enough_and_each_is_named_once() -> None:
    assert len(ROWS) >= 60
    assert len({name for name, *_ in ROWS}) == len(ROWS)


def test_a_merge_requests_pipeline_counts_where_a_fork_can_be_told() -> None:
    assert "merge_request_event" in ruling(World()).sources
    assert "merge_request_event" not in ruling(World(version="18.3.0")).sources
    assert "merge_request_event" not in ruling(World(branches=[]), ref=MAIN).sources


def test_facts_that_do_not_fit_each_other_let_nobody_in() -> None:
    facts = World().facts(a_scope(), "staging", None)
    release = gitlab_rules.release("18.5.0")

    def rule(**fields: Any) -> str:
        changed = replace(facts, **fields)
        return gitlab_rules.would_run(changed, ref=None, environment="staging", release=release, today=TODAY).rule

    assert rule() == RUNS
    assert rule(protected_environments=facts.protected_environments[:1]) == "protections"
    assert rule(link=replace(facts.link, value=8)) == "user"
    assert rule(link=replace(facts.link, value=None)) == "user"
