"""The facts that a case of a policy test supposes, in the very shape in which GitLab's answers are judged."""

from __future__ import annotations

from datetime import date
from typing import TypeVar

from juniperd.issuer import decision, glob, slug
from juniperd.issuer.case_file import GROUP, Actor, Ground, PolicyCase, Run
from juniperd.issuer.config import Identity
from juniperd.issuer.facts import (
    Asked,
    Environment,
    Fact,
    Facts,
    Membership,
    Project,
    Trouble,
    User,
)
from juniperd.issuer.job import MERGE_REQUEST, Job
from juniperd.issuer.job_facts import JobFacts, RunningJob
from juniperd.issuer.link_rule import LinkRule
from juniperd.issuer.policy import Policy, Scope
from juniperd.issuer.protection import GroupLevel, GroupMembership, guess_tier, matches
from juniperd.issuer.selection import select
from juniperd.issuer.verdict import Case, JobCase, Selection, SignIn, Verdict

T = TypeVar("T")
_SAID = Asked("the case", "says so", 0.0)
UNRULED = Identity("case", "oidc", "", "", "", (), "auto", "", LinkRule("", "sub"))
"""An identity that asks nothing: what the real one asks stands in issuer.toml and not in the policy."""
_SESSION = "case"
_JOB = 1


def judge(case: PolicyCase, scope: Scope, policy: Policy, today: date) -> tuple[Verdict, str | None]:
    """The issuer's own verdict on one scope, and the environment that was asked for."""
    day = case.day or today
    if case.run is not None:
        job = _job(case, case.run, scope)
        return decision.decide(
            JobCase(policy, scope, job, _job_facts(case, case.run, scope, job), day)
        ), job.environment
    selection = select(scope, environment=case.environment, ref=case.ref)
    flow = case.actor.flow or min(scope.sign_in, default="browser")
    session = _SESSION if case.session else None
    facts = _facts(case, scope, selection)
    asked = Case(policy, scope, SignIn(UNRULED, flow), selection, facts, day, session)
    return decision.decide(asked), case.environment or selection.environment


def _fact(value: T) -> Fact[T]:
    return Fact(_SAID, value)


def _facts(case: PolicyCase, scope: Scope, selection: Selection) -> Facts:
    actor, ground = case.actor, case.ground
    project = _project(case.project, scope, ground)
    groups = sorted(project.ancestors)
    return Facts(
        link=_link(actor),
        user=_fact(_user(actor)),
        project=_fact(project),
        membership=_fact(_membership(actor)),
        branches=_fact(ground.protected_branches),
        tags=_fact(ground.protected_tags),
        environment=_fact(_environment(ground, selection.environment)),
        protected_environments=(
            _fact(ground.protected_environments),
            *(_fact(ground.group_protected_environments if at == 0 else ()) for at in range(len(groups))),
        ),
        groups=_fact(frozenset(groups)),
        named_refs=_fact(_refs(ground, selection.ref)) if selection.ref is not None else None,
        group_memberships=tuple(
            _fact(GroupMembership(group, inherited=inherited))
            for group in sorted(actor.groups)
            for inherited in (False, True)
        ),
        group_levels=(_fact(GroupLevel(GROUP, actor.group_level)),),
    )


def _link(actor: Actor) -> Fact[int]:
    if actor.linked:
        return _fact(actor.user)
    trouble = Trouble("link_missing", passing=False, text="the case's sign-in is linked to nobody", cure="link it")
    return Fact(_SAID, trouble=trouble)


def _user(actor: Actor) -> User:
    state = "blocked" if actor.account == "blocked" else "active"
    bot, locked = actor.account == "bot", actor.account == "locked"
    return User(actor.user, "somebody", state, bot=bot, locked=locked, identities=frozenset())


def _membership(actor: Actor) -> Membership | None:
    return Membership(actor.level, actor.expires, active=True) if actor.level else None


def _project(path: str, scope: Scope, ground: Ground) -> Project:
    return Project(
        id=ground.id or scope.project_id or 1,
        path=path,
        namespace_id=ground.namespace_id or scope.namespace_id or 1,
        namespace_path=path.rpartition("/")[0],
        in_group=True,
        archived=ground.state == "archived",
        leaving=ground.state == "leaving",
        ci_enabled=ground.ci,
        ci_config_inside=not ground.ci_config_elsewhere,
    )


def _environment(ground: Ground, name: str | None) -> Environment | None:
    if name is None or (ground.environments is not None and name not in ground.environments):
        return None
    state = "stopped" if name in ground.stopped else "available"
    return Environment(1, name, slug.of_environment(name), guess_tier(name), state)


def _refs(ground: Ground, ref: str) -> frozenset[str]:
    """Which of branch and tag of that name exist: the one that is asked for, where the case lists neither."""
    if ground.branches is None and ground.tags is None:
        return frozenset({ref})
    name = ref.partition(":")[2]
    there = {"branch": ground.branches or (), "tag": ground.tags or ()}
    return frozenset(f"{kind}:{name}" for kind, names in there.items() if name in names)


# --- a pipeline's job -------------------------------------------------------------------------------------------------


def _job(case: PolicyCase, run: Run, scope: Scope) -> Job:
    """The job as its token would name it: at the scope's own places where the case names none."""
    project = _project(case.project, scope, case.ground)
    environment = case.environment or _literal(scope.environment)
    return Job(
        id=_JOB,
        pipeline_id=_JOB,
        project_id=project.id,
        project_path=project.path,
        namespace_id=project.namespace_id,
        runs_in=project.id + 1 if run.fork else project.id,
        user_id=case.actor.user,
        source=run.source,
        ref=None if run.source == MERGE_REQUEST else case.ref or _literal(scope.ref) or "branch:main",
        ref_protected=True,
        environment=environment,
        environment_protected=environment is not None and _is_protected(case.ground, environment),
        environment_action=run.action,
        runner_id=None,
        said={},
        jti=_SESSION,
        ends_at=0.0,
        thumbprint=_SESSION,
        token_digest=_SESSION,
    )


def _is_protected(ground: Ground, environment: str) -> bool:
    """By the project under its name, by a group under its tier."""
    own = any(matches(p.name, environment) for p in ground.protected_environments)
    return own or any(matches(p.name, guess_tier(environment)) for p in ground.group_protected_environments)


def _literal(pattern: str | None) -> str | None:
    return pattern if pattern is not None and glob.is_literal(pattern) else None


def _job_facts(case: PolicyCase, run: Run, scope: Scope, job: Job) -> JobFacts:
    running = RunningJob(job.id, run.status, job.project_id, job.pipeline_id, job.user_id, job.ref or "")
    return JobFacts(
        job=_fact(running),
        user=_fact(_user(case.actor)),
        project=_fact(_project(case.project, scope, case.ground)),
        membership=_fact(_membership(case.actor)),
        environment=_fact(_environment(case.ground, job.environment)),
        named_refs=_fact(_refs(case.ground, job.ref)) if job.ref is not None and scope.ref is not None else None,
    )
