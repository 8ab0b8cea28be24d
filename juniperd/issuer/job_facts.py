"""What GitLab said of a job, beside what it says of people and projects: read as strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from juniperd.issuer.facts import Asked, Environment, Fact, Membership, Project, User, flag, mapping, number, text, used


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job as GitLab's API has it now; ``ref`` is ``branch:NAME`` or ``tag:NAME``, whatever kind of ref it really is."""

    id: int
    status: str
    project_id: int
    pipeline_id: int
    user_id: int
    ref: str


@dataclass(frozen=True, slots=True)
class JobFacts:
    """Everything that a decision on a job is made of, beside its token."""

    job: Fact[RunningJob | None]
    user: Fact[User]
    project: Fact[Project]
    membership: Fact[Membership | None]
    environment: Fact[Environment | None]
    named_refs: Fact[frozenset[str]] | None = None

    @property
    def asked(self) -> tuple[Asked, ...]:
        """What was asked."""
        refs = (self.named_refs,) if self.named_refs is not None else ()
        found: tuple[Fact[object], ...] = (self.job, self.user, self.project, self.membership, self.environment, *refs)
        return tuple(fact.asked for fact in found)

    @property
    def oldest(self) -> float:
        """When the oldest fact was asked for."""
        return min(a.at for a in self.asked)

    def used(self, now: float) -> list[Mapping[str, object]]:
        """What was asked and answered, and how long ago, for the trail."""
        return used(self.asked, now)


def running_job_of(raw: object) -> RunningJob:
    """``GET /projects/:id/jobs/:job_id``."""
    found = mapping(raw)
    pipeline = mapping(found.get("pipeline"))
    kind = "tag" if flag(found, "tag") else "branch"
    return RunningJob(
        id=number(found, "id"),
        status=text(found, "status"),
        project_id=number(pipeline, "project_id"),
        pipeline_id=number(pipeline, "id"),
        user_id=number(mapping(found.get("user")), "id"),
        ref=f"{kind}:{text(found, 'ref')}",
    )
