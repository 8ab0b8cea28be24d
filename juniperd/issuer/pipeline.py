"""A job's request: its token bound to the first key that shows it, asked of GitLab while it runs, then the scope."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from juniperd.issuer import bindings, decision, denials, glob, job_checks
from juniperd.issuer.hearing import Decided, aimed
from juniperd.issuer.inquiry import Inquiry, Where
from juniperd.issuer.job import IDENTITY, Job
from juniperd.issuer.job_facts import JobFacts
from juniperd.issuer.judge import OLDEST_FACT, InForce
from juniperd.issuer.policy import Policy, Scope
from juniperd.issuer.state import State
from juniperd.issuer.token_request import TokenRequest
from juniperd.issuer.verdict import Grant, JobCase, Refused, Verdict
from juniperd.model import Clock, Origin

_SELECTED = Refused("select", "selected", "a job selects nothing: leave environment, ref and session out")
_ELSEWHERE = Refused("2", "project_mismatch", "the scope is of another project; run the job there")


class Pipelines:
    """Asks and decides for jobs; holds no verdict longer than a call."""

    def __init__(self, in_force: InForce, inquiry: Inquiry, state: State, *, clock: Clock) -> None:
        self._in_force = in_force
        self._inquiry = inquiry
        self._state = state
        self._clock = clock

    @property
    def policy(self) -> Policy:
        """The policy in force at this moment."""
        return self._in_force.policy

    async def case(self, job: Job, scope: Scope) -> JobCase:
        """Everything a decision on this scope looks at."""
        policy, ask = self.policy, self._inquiry
        where = Where(job.project_id, job.environment, job.ref if scope.ref is not None else None)
        running, user, project, membership, environment, refs = await asyncio.gather(
            ask.job(job.project_id, job.id),
            ask.user(job.user_id),
            ask.project(job.project_id),
            ask.membership(job.project_id, job.user_id),
            ask.environment(where),
            ask.named_refs(where),
        )
        facts = JobFacts(running, user, project, membership, environment, refs)
        return JobCase(policy, scope, job, facts, datetime.fromtimestamp(self._clock(), UTC).date())

    def knows(self, job: Job) -> bool:
        """Whether a scope is of a project that the token names."""
        places = {job.project_id, job.runs_in or job.project_id}
        return any(self.policy.of_pipelines(number, job.project_path) for number in places)

    async def ended(self, job: Job) -> Refused | None:
        """Why the job is not one that runs, or None."""
        return job_checks.ended(await self._inquiry.job(job.project_id, job.id), job)

    def taken(self, job: Job) -> Refused | None:
        """Why this key may not use this job's token, or None."""
        return self._state.read(lambda c: bindings.taken(c, job))

    def bind(self, connection: sqlite3.Connection, job: Job) -> Refused | None:
        """Tie the token to the key, or say why not."""
        return bindings.bind(connection, job, now=self._clock())

    def verdict(self, case: JobCase) -> Verdict:
        """The verdict, with what the issuer itself knows against it."""
        denied = self._state.read(lambda c: denials.match(c, user_id=case.job.user_id, scope=case.scope.name))
        if denied is not None:
            return denied
        if self._clock() - case.facts.oldest > OLDEST_FACT:
            return Refused("2", "facts_old", "GitLab took too long; try again", passing=True)
        return decision.decide(case)

    def last_look(self, connection: sqlite3.Connection, case: JobCase, verdict: Verdict) -> Verdict:
        """The verdict, unless policy or denials changed since the facts were asked for."""
        if isinstance(verdict, Refused):
            return verdict
        if case.policy.digest != self.policy.digest:
            return Refused("select", "policy_changed", "the policy was changed meanwhile; try again", passing=True)
        return denials.match(connection, user_id=case.job.user_id, scope=case.scope.name) or verdict


@dataclass(frozen=True, slots=True)
class PipelineHearing:
    """A job's request (:class:`juniperd.issuer.hearing.Hearing`)."""

    job: Job
    request: TokenRequest
    pipelines: Pipelines

    @property
    def caller(self) -> tuple[str, str]:
        """The job, whichever of its tokens it shows."""
        return self.job.name

    @property
    def thumbprint(self) -> str:
        """Its agent's key."""
        return self.job.thumbprint

    async def decide(self) -> Decided:
        """The verdict on the facts as they are now."""
        if (taken := self.pipelines.taken(self.job)) is not None:
            return Decided(taken)
        if self.request.environment or self.request.ref or self.request.session:
            return Decided(_SELECTED, belongs=True)
        scope = self.pipelines.policy.scope(self.request.scope)
        if scope is None:
            belongs = bool(self.pipelines.policy.of_pipelines(self.job.project_id, self.job.project_path))
            return Decided(Refused("select", "unknown_scope", "there is no such scope; mend its name"), belongs=belongs)
        if not self._is_own(scope):
            return Decided(_ELSEWHERE)
        case = await self.pipelines.case(self.job, scope)
        verdict, target = aimed(self.request, scope, self.pipelines.verdict(case))
        return Decided(verdict, case, target)

    def _is_own(self, scope: Scope) -> bool:
        """Whether the scope is of a project that the token names; of others' GitLab is asked no more than of invented ones."""
        job = self.job
        if scope.project_id is not None:
            return scope.project_id in {job.project_id, job.runs_in}
        return glob.matches(scope.project, job.project_path)

    def last_look(self, connection: sqlite3.Connection, decided: Decided) -> Verdict:
        """The binding, made here whatever the verdict is; then policy and denials once more."""
        if (taken := self.pipelines.bind(connection, self.job)) is not None:
            return taken
        if not isinstance(decided.case, JobCase):
            return decided.verdict
        return self.pipelines.last_look(connection, decided.case, decided.verdict)

    def remember(self, connection: sqlite3.Connection, grant: Grant, now: float) -> None:
        """Nothing: who a job is says its token."""

    def said(self, decided: Decided) -> Mapping[str, object]:
        """Who asks, for the record."""
        job = self.job
        user = decided.case.facts.user.value if decided.case else None
        return {
            "origin": Origin.PIPELINE.value,
            "identity": IDENTITY,
            "subject": job.key,
            "key": job.thumbprint,
            "user_id": job.user_id,
            "user_login": user.login if user else None,
            "job": {
                "id": job.id,
                "pipeline_id": job.pipeline_id,
                "project_id": job.project_id,
                "project_path": job.project_path,
                "job_project_id": job.runs_in,
                "pipeline_source": job.source,
                "ref": job.comes_from,
                "environment": job.environment,
                "environment_action": job.environment_action if job.environment else None,
                "jti": job.jti,
            },
        }
