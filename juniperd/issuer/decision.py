"""Whether a laptop or a job may hold a scope: pure; policy, token, facts and a day in, a verdict out.

The checks run in the design's order and the first refusal is the verdict.
"""

from __future__ import annotations

from typing import TypeVar

from juniperd.issuer.checks import CHECKS, Checks, basis, project_identity
from juniperd.issuer.job_checks import JOB_CHECKS
from juniperd.issuer.verdict import AnyCase, Grant, JobCase, Permitted, Refused, Step, Verdict

C = TypeVar("C")
REPORTER = 20
JOB = "job"
"""The basis of what a job holds: GitLab let it run."""


def decide(case: AnyCase) -> Verdict:
    """The verdict of checks 0 to 6, then of the scope's sleep; of a job's own checks for a job."""
    refused = _first(JOB_CHECKS, case) if isinstance(case, JobCase) else _first(CHECKS, case)
    return refused or _grant(case)


def explain(case: AnyCase) -> tuple[Verdict, tuple[Step, ...]]:
    """The verdict, and what was asked and answered on the way to it."""
    refused, steps = _walk(JOB_CHECKS, case) if isinstance(case, JobCase) else _walk(CHECKS, case)
    return refused or _grant(case), steps


def _first(checks: Checks[C], case: C) -> Refused | None:
    for _, check, _ in checks:
        if (refused := check(case)) is not None:
            return refused
    return None


def _walk(checks: Checks[C], case: C) -> tuple[Refused | None, tuple[Step, ...]]:
    steps: list[Step] = []
    for rule, check, evidence in checks:
        refused = check(case)
        outcome = "ok" if refused is None else "refused"
        steps += [Step(rule, a.question, a.answer, outcome) for a in evidence(case)]
        if refused is not None:
            return refused, tuple(steps)
    return None, tuple(steps)


def entitled(case: AnyCase) -> bool:
    """Whether whoever asks may be told why: an active account, at least Reporter of the scope's project now."""
    facts = case.facts
    project, member, user = facts.project.value, facts.membership.value, facts.user.value
    if isinstance(case, JobCase):
        known = user is not None and user.state == "active" and _is_of(case)
    else:
        known = case.facts.link.value is not None and user is not None and user.active
        known = known and project is not None and project_identity(case) is None
    if not known or member is None:
        return False
    return member.holds_on(case.today) and member.level >= REPORTER


def _is_of(case: JobCase) -> bool:
    """Whether the scope is of the job's own project, about which the job may know everything."""
    project, scope = case.facts.project.value, case.scope
    own = project is not None and project.id == case.job.project_id and case.job.runs_in in (None, project.id)
    return own and project is not None and scope.project_id == project.id


def _grant(case: AnyCase) -> Verdict:
    facts = case.facts
    user, project, member = facts.user.value, facts.project.value, facts.membership.value
    if user is None or project is None or member is None:
        return Refused("2", "gitlab_doubtful", "a fact is missing; try again")
    environment = facts.environment.value
    if isinstance(case, JobCase):
        ref = case.job.ref if case.scope.ref is not None else None
        return Permitted(Grant(case.scope, user, project, member.level, JOB, environment, ref, case.job))
    return Permitted(Grant(case.scope, user, project, member.level, basis(case), environment, case.selection.ref))
