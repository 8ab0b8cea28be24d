"""Who gains by a change of policy: every member of a project, judged under both policies with GitLab's facts of now.

The decision is the issuer's own. A member is taken for linked and well signed in, with a debugging session open, for all
that may come tomorrow. Where GitLab's answer leaves it open, a person may gain, and is named as one who may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from juniperd.errors import UpstreamAnswer
from juniperd.issuer import decision, glob, policy_diff
from juniperd.issuer.claims import role_name
from juniperd.issuer.facts import Asked, Fact, Facts, Member
from juniperd.issuer.gitlab import Gitlab
from juniperd.issuer.inquiry import Inquiry, OnPage, Where
from juniperd.issuer.policy import Policy, Scope
from juniperd.issuer.proof import Proof
from juniperd.issuer.selection import select
from juniperd.issuer.supposed import UNRULED
from juniperd.issuer.verdict import Case, Permitted, SignIn
from juniperd.model import Clock, Origin

_AT_ONCE = 8
_SESSION = "review"
_OPEN = frozenset({"gitlab_doubtful", "groups_incomplete"})
"""Refusals for want of an answer that no fact's own trouble names."""


@dataclass(frozen=True, slots=True)
class Gainer:
    """A person, their role in the project, and where they would hold the scope; a doubt instead of a certainty."""

    user_id: int
    label: str
    role: str
    where: tuple[str, ...] = ()
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class ScopeGains:
    """Who gains one scope, and who may."""

    scope: str
    project: str
    gain: tuple[Gainer, ...]
    may_gain: tuple[Gainer, ...]


@dataclass(slots=True)
class _Held:
    """Where a person holds a scope under one policy, and why it is not known elsewhere."""

    places: set[Where] = field(default_factory=set)
    doubts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Reach:
    """A scope of a policy with the places that it covers now, or why GitLab did not tell them."""

    policy: Policy
    scope: Scope
    places: tuple[Where, ...]
    doubt: str = ""


class Gains:
    """Asks GitLab as decisions do; nobody is signed in and nothing is issued."""

    def __init__(self, gitlab: Gitlab, *, unlicensed: bool, clock: Clock) -> None:
        self._clock = clock
        self._inquiry = Inquiry(gitlab, unlicensed=unlicensed, clock=clock, linked=lambda who: int(who.key))
        self._proof = Proof(gitlab, unlicensed=unlicensed, clock=clock, by_extern_uid=False)

    async def run(self, old: Policy, new: Policy) -> list[ScopeGains]:
        """The laptop scopes that are new or not as they were, in the policy's order."""
        changed = [scope for scope in new.scopes.values() if _changed(scope, old, new)]
        if not changed:
            return []
        findings = await self._proof.run(Policy({s.name: s for s in changed}, {}))
        if not findings.whole:
            msg = "GitLab was late, so nobody knows who gains"
            raise UpstreamAnswer(msg, "try again")
        return [await self._of_scope(scope, old, new, blind=findings.blind) for scope in changed]

    async def _of_scope(self, scope: Scope, old: Policy, new: Policy, *, blind: set[int]) -> ScopeGains:
        project_id = scope.project_id or 0
        members = await self._members(project_id, scope.project)
        after = await self._reach(new, scope, blind=project_id in blind)
        former = old.scope(scope.name)
        counts = former is not None and Origin.LAPTOP in former.origins and not policy_diff.widened(former, scope)
        before = await self._reach(old, former, blind=False) if counts and former is not None else None
        found = [
            g for some in _portions(members) for g in await asyncio.gather(*(self._of(m, before, after) for m in some))
        ]
        certain = tuple(g for g in found if g is not None and not g.doubt)
        return ScopeGains(scope.name, scope.project, certain, tuple(g for g in found if g is not None and g.doubt))

    async def _members(self, project_id: int, path: str) -> tuple[Member, ...]:
        found = await self._inquiry.members(project_id)
        if found.value is None:
            why = found.trouble.text if found.trouble is not None else "no answer"
            msg = f"the members of {path} are not known ({why})"
            raise UpstreamAnswer(msg, "try again, mend project_id or the reader token, or leave out --people")
        # Each once: a member of several places above may be listed for each of them.
        return tuple({member.id: member for member in found.value}.values())

    async def _reach(self, policy: Policy, scope: Scope, *, blind: bool) -> _Reach:
        if blind:
            return _Reach(policy, scope, (), "the reader token sees too little of the project")
        project_id = scope.project_id or 0
        environments = await self._names(project_id, scope.environment)
        refs = await self._names(project_id, scope.ref)
        if (late := environments.trouble or refs.trouble) is not None:
            return _Reach(policy, scope, (), late.text)
        places = (Where(project_id, e, r) for e in environments.value or () for r in refs.value or ())
        return _Reach(policy, scope, tuple(places))

    async def _names(self, project_id: int, pattern: str | None) -> Fact[tuple[str | None, ...]]:
        """The names under a pattern now; a literal is its own, and whether it is there is the decision's to ask."""
        if pattern is None or glob.is_literal(pattern):
            return Fact(Asked("the policy", pattern or "none", 0.0), (pattern,))
        return await self._inquiry.covered(project_id, pattern)

    async def _of(self, member: Member, before: _Reach | None, after: _Reach) -> Gainer | None:
        role = role_name(member.membership.level)
        now = await self._held(member, after)
        once = await self._held(member, before) if before is not None else _Held()
        if more := [place for place in now.places if not any(_same(place, held) for held in once.places)]:
            return Gainer(member.id, member.label, role, tuple(sorted({_shown(where) for where in more})))
        doubts = now.doubts or ([after.doubt] if after.doubt else [])
        return Gainer(member.id, member.label, role, doubt=doubts[0]) if doubts else None

    async def _held(self, member: Member, reach: _Reach) -> _Held:
        held, today = _Held(), datetime.fromtimestamp(self._clock(), UTC).date()
        for where in reach.places:
            facts = await self._inquiry.facts(OnPage("", str(member.id), ""), where)
            verdict = decision.decide(_case(reach, where, facts, today))
            if isinstance(verdict, Permitted):
                held.places.add(where)
            elif verdict.reason in _OPEN | set(_troubles(facts)):
                held.doubts.append(verdict.text.partition("; ")[0])
        return held


def _case(reach: _Reach, where: Where, facts: Facts, today: date) -> Case:
    scope = reach.scope
    sign_in = SignIn(UNRULED, min(scope.sign_in, default="browser"))
    selection = select(scope, environment=where.environment, ref=where.ref)
    return Case(reach.policy, scope, sign_in, selection, facts, today, _SESSION)


def _troubles(facts: Facts) -> Iterator[str]:
    several = (*facts.protected_environments, *facts.group_memberships, *facts.group_levels)
    single = (facts.user, facts.membership, facts.project, facts.branches, facts.tags, facts.environment, facts.groups)
    for fact in (*single, *several, *((facts.named_refs,) if facts.named_refs is not None else ())):
        if fact.trouble is not None:
            yield fact.trouble.reason


def _changed(scope: Scope, old: Policy, new: Policy) -> bool:
    """Whether somebody's laptop may hold it who could not; what production is decides that too."""
    former = old.scope(scope.name)
    same = former is not None and replace(former, about=scope.about) == scope
    return Origin.LAPTOP in scope.origins and (not same or not set(old.production) <= set(new.production))


def _portions(members: tuple[Member, ...]) -> Iterator[tuple[Member, ...]]:
    for start in range(0, len(members), _AT_ONCE):
        yield members[start : start + _AT_ONCE]


def _same(place: Where, held: Where) -> bool:
    """Whether who held the scope there holds it here: a ref that is no longer asked for, or newly, opens no place."""
    here = (place.project_id, place.environment) == (held.project_id, held.environment)
    return here and (place.ref == held.ref or None in {place.ref, held.ref})


def _shown(where: Where) -> str:
    return " on ".join(filter(None, (where.environment, where.ref)))
