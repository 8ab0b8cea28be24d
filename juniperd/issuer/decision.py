"""Whether a laptop may hold a scope: pure; policy, sign-in, facts and a day in, a verdict out.

The checks run in the design's order and the first refusal is the verdict.
"""

from __future__ import annotations

from juniperd.issuer.checks import CHECKS, basis, project_identity
from juniperd.issuer.verdict import Case, Grant, Permitted, Refused, Step, Verdict

REPORTER = 20


def decide(case: Case) -> Verdict:
    """The verdict of checks 0 to 6, then of the scope's sleep."""
    for _, check, _ in CHECKS:
        if (refused := check(case)) is not None:
            return refused
    return _grant(case)


def explain(case: Case) -> tuple[Verdict, tuple[Step, ...]]:
    """The verdict, and what was asked and answered on the way to it."""
    steps: list[Step] = []
    for rule, check, evidence in CHECKS:
        refused = check(case)
        outcome = "ok" if refused is None else "refused"
        steps += [Step(rule, a.question, a.answer, outcome) for a in evidence(case)]
        if refused is not None:
            return refused, tuple(steps)
    return _grant(case), tuple(steps)


def entitled(case: Case) -> bool:
    """Whether this person may be told why: linked, active, and at least Reporter of the scope's project now."""
    facts = case.facts
    if facts.link.value is None or facts.user.value is None or not facts.user.value.active:
        return False
    project, member = facts.project.value, facts.membership.value
    if project is None or project_identity(case) is not None or member is None:
        return False
    return member.holds_on(case.today) and member.level >= REPORTER


def _grant(case: Case) -> Verdict:
    facts = case.facts
    user, project, member = facts.user.value, facts.project.value, facts.membership.value
    if user is None or project is None or member is None:
        return Refused("2", "gitlab_doubtful", "a fact is missing; try again")
    return Permitted(
        Grant(case.scope, user, project, member.level, basis(case), facts.environment.value, case.selection.ref)
    )
