"""The values of a decision: what is judged, what may come out, and how it is explained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from juniperd.issuer.config import Identity
from juniperd.issuer.facts import Environment, Facts, Project, User
from juniperd.issuer.job import Job
from juniperd.issuer.job_facts import JobFacts
from juniperd.issuer.policy import Policy, Scope
from juniperd.issuer.protection import Person
from juniperd.model import Origin


@dataclass(frozen=True, slots=True)
class SignIn:
    """How the person signed in, as far as policy asks."""

    identity: Identity
    flow: str
    amr: frozenset[str] = frozenset()
    acr: str = ""
    acrs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Refused:
    """No, with the rule's number, a stable word, and one line that ends with a cure."""

    rule: str
    reason: str
    text: str
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """Policy's yes, with the facts that claims are made of; ``job`` where it is a job's."""

    scope: Scope
    user: User
    project: Project
    level: int
    basis: str
    environment: Environment | None
    ref: str | None
    job: Job | None = None

    @property
    def origin(self) -> Origin:
        """Whose it is."""
        return Origin.LAPTOP if self.job is None else Origin.PIPELINE


@dataclass(frozen=True, slots=True)
class Permitted:
    """Yes."""

    grant: Grant


Verdict = Permitted | Refused


@dataclass(frozen=True, slots=True)
class Selection:
    """What a request chose within a scope's patterns; ``None`` where the scope has no such pattern."""

    environment: str | None
    ref: str | None
    problem: Refused | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """Everything a decision looks at; ``session`` is the debugging session that this person has open for the scope."""

    policy: Policy
    scope: Scope
    sign_in: SignIn
    selection: Selection
    facts: Facts
    today: date
    session: str | None = None

    @property
    def person(self) -> Person:
        """The person as protections see them; only after the link and the membership were found good."""
        level = self.facts.membership.value.level if self.facts.membership.value else 0
        found = frozenset(f.value for f in self.facts.group_memberships if f.value is not None)
        return Person(self.facts.link.value or 0, level, found)

    def person_in(self, group_id: int) -> Person:
        """The person as a group's protections see them: a role there is the role in that group, unknown is none."""
        known = (f.value for f in self.facts.group_levels if f.value is not None)
        level = next((found.level for found in known if found.group_id == group_id), 0)
        return replace(self.person, level=level)


@dataclass(frozen=True, slots=True)
class JobCase:
    """Everything a decision on a job looks at; a job selects nothing, so its token is what is compared with the scope."""

    policy: Policy
    scope: Scope
    job: Job
    facts: JobFacts
    today: date


AnyCase = Case | JobCase


@dataclass(frozen=True, slots=True)
class Step:
    """One line of an explanation."""

    rule: str
    asked: str
    answered: str
    verdict: str
