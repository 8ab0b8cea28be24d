"""Brings a case together and judges it: policy in force, facts from GitLab, what the issuer itself remembers."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TypeVar

from juniperd.issuer import decision, denials, gitlab_rules, links, pins, sessions
from juniperd.issuer.facts import Fact
from juniperd.issuer.gitlab_rules import Release
from juniperd.issuer.inquiry import Inquiry, Where
from juniperd.issuer.parity import Chosen
from juniperd.issuer.policy import Policy, Scope
from juniperd.issuer.selection import select
from juniperd.issuer.state import State
from juniperd.issuer.subject import Subject
from juniperd.issuer.verdict import Case, Refused, Selection, Step, Verdict
from juniperd.model import Clock

T = TypeVar("T")
OLDEST_FACT = 60.0
OPENING = "opening"
"""The session of a case that asks what one would reach, before there is one."""
_MOST = 10
_AT_ONCE = 8


@dataclass(slots=True)
class InForce:
    """The policy in force, swapped whole by a reload; ``blind`` are the projects the reader token cannot see enough of."""

    policy: Policy
    blind: frozenset[int] = frozenset()


class Judge:
    """Asks and decides; holds no verdict longer than a call."""

    def __init__(self, in_force: InForce, inquiry: Inquiry, state: State, *, clock: Clock) -> None:
        self._in_force = in_force
        self._inquiry = inquiry
        self._state = state
        self._clock = clock

    @property
    def policy(self) -> Policy:
        """The policy in force at this moment."""
        return self._in_force.policy

    async def case(
        self,
        subject: Subject,
        scope: Scope,
        *,
        environment: str | None = None,
        ref: str | None = None,
        session: str | None = None,
    ) -> Case:
        """Everything a decision on this scope looks at; ``session`` is one found open for this person and scope."""
        policy = self.policy
        selection = await self._choices(scope, select(scope, environment=environment, ref=ref))
        where = Where(scope.project_id or 0, selection.environment, selection.ref)
        facts = await self._inquiry.facts(subject.who, where)
        return Case(policy, scope, subject.sign_in, selection, facts, self._today(), session)

    async def chosen(self, subject: Subject, case: Case, *, environment: str | None, ref: str | None) -> Chosen:
        """The job's side of a comparison: where nothing is chosen for it, what the laptop's selects."""
        environment, ref = environment or case.selection.environment, ref or case.selection.ref
        where = Where(case.scope.project_id or 0, environment, ref)
        return Chosen(await self._inquiry.facts(subject.who, where), ref, environment)

    async def release(self) -> tuple[str, Release | None]:
        """What GitLab calls its release, and the release where its rules are known."""
        fact = await self._inquiry.version()
        return fact.value or fact.asked.answer, gitlab_rules.release(fact.value)

    async def _choices(self, scope: Scope, selection: Selection) -> Selection:
        """A refusal for want of a selector, with what there is to choose from."""
        problem = selection.problem
        what = problem.reason.removesuffix("_unselected") if problem else ""
        pattern = {"environment": scope.environment, "ref": scope.ref}.get(what)
        if problem is None or pattern is None or not problem.reason.endswith("_unselected"):
            return selection
        names = await self._inquiry.choices(scope.project_id or 0, pattern)
        shown = ", ".join(names[:_MOST]) + (", …" if len(names) > _MOST else "") or "nothing now"
        text = f"the scope covers '{pattern}', that is {shown}; choose one with --{what} NAME"
        return replace(selection, problem=replace(problem, text=text))

    async def belongs(self, subject: Subject) -> bool | Refused:
        """Whether this person may see any scope at all, and so may be told that a name is none; or why nobody knows."""
        user = await self._inquiry.person(subject.who)
        if user.value is None or not user.value.active:
            return _late(user) or False
        number, today = user.value.id, self._today()
        for start in range(0, len(projects := self.policy.laptop_projects), _AT_ONCE):
            some = projects[start : start + _AT_ONCE]
            found = await asyncio.gather(*(self._inquiry.membership(p, number) for p in some))
            if any(
                m is not None and m.holds_on(today) and m.level >= decision.REPORTER for m in (f.value for f in found)
            ):
                return True
            if (late := next((r for f in found if (r := _late(f)) is not None), None)) is not None:
                return late
        return False

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock(), UTC).date()

    def last_look(self, connection: sqlite3.Connection, subject: Subject, case: Case, verdict: Verdict) -> Verdict:
        """The verdict, unless pin, policy, denials or links changed since the facts were asked for.

        Called within the transaction that records it, so that nothing is issued under what ended before.
        """
        if isinstance(verdict, Refused):
            return verdict
        if case.policy.digest != self.policy.digest:
            return Refused("select", "policy_changed", "the policy was changed meanwhile; try again", passing=True)
        user_id = verdict.grant.user.id
        return (
            pins.missing(connection, subject)
            or links.missing(connection, subject)
            or denials.match(connection, user_id=user_id, scope=case.scope.name)
            or links.conflict(connection, identity=subject.identity.name, key=subject.key, user_id=user_id)
            or self._session_over(connection, subject, case)
            or verdict
        )

    def _session_over(self, connection: sqlite3.Connection, subject: Subject, case: Case) -> Refused | None:
        if case.session is None or case.session == OPENING:
            return None
        found = sessions.usable(connection, case.session, subject, self._clock())
        return found if isinstance(found, Refused) else sessions.covers(found, case.scope.name, case.scope)

    def verdict(self, case: Case, subject: Subject) -> Verdict:
        """The verdict, with what the issuer itself knows against it."""
        return self._own_refusal(case, subject) or decision.decide(case)

    def explain(self, case: Case, subject: Subject) -> tuple[Verdict, tuple[Step, ...]]:
        """The verdict and the steps that led to it."""
        verdict, steps = decision.explain(case)
        own = self._own_refusal(case, subject)
        if own is None:
            return verdict, steps
        return own, (Step(own.rule, "what the issuer remembers", own.text, "refused"), *steps)

    def denied(self, case: Case) -> Refused | None:
        """What an administrator has denied of this person or scope, which holds for jobs as well."""
        user_id = case.facts.link.value
        return self._state.read(lambda c: denials.match(c, user_id=user_id, scope=case.scope.name))

    def _own_refusal(self, case: Case, subject: Subject) -> Refused | None:
        if (denied := self.denied(case)) is not None:
            return denied
        user_id = case.facts.link.value
        if user_id is not None:
            mine = self._state.read(
                lambda c: links.conflict(c, identity=subject.identity.name, key=subject.key, user_id=user_id)
            )
            if mine is not None:
                return mine
        if case.scope.project_id in self._in_force.blind:
            return Refused("2", "reader_blind", "the issuer's reader token sees too little; ask who runs the issuer")
        if self._clock() - case.facts.oldest > OLDEST_FACT:
            return Refused("2", "facts_old", "GitLab took too long; try again", passing=True)
        return None


def _late(fact: Fact[T]) -> Refused | None:
    trouble = fact.trouble
    return Refused("1", trouble.reason, trouble.text, passing=True) if trouble is not None and trouble.passing else None
