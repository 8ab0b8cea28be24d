"""``/catalogue`` for a job: the scopes of its own project, and which of them it holds while it runs."""

from __future__ import annotations

import asyncio

from juniperd.issuer import decision, refusal
from juniperd.issuer.catalogue import row_of
from juniperd.issuer.ground import Ground
from juniperd.issuer.job import Job
from juniperd.issuer.pipeline import Pipelines
from juniperd.issuer.policy import Activation, Scope
from juniperd.issuer.verdict import Refused


class JobCatalogue:
    """Answers a verified job; nothing here is issued."""

    def __init__(self, ground: Ground, pipelines: Pipelines) -> None:
        self._state = ground.state
        self._new_id = ground.new_id
        self._pipelines = pipelines

    async def listing(self, job: Job) -> dict[str, object]:
        """Every pipeline scope of the job's project; its token is bound to the key that asks, if it was to none."""
        policy = self._pipelines.policy
        scopes = policy.of_pipelines(job.project_id, job.project_path)
        # Nothing is kept of a job that no scope is for: anybody at a public GitLab may run such.
        taken = await self._state.write(lambda c: self._pipelines.bind(c, job)) if scopes else None
        if taken is not None:
            raise refusal.of(taken, decision=self._new_id(), entitled=True)
        if scopes and (ended := await self._pipelines.ended(job)) is not None:
            raise refusal.of(ended, decision=self._new_id(), entitled=True)
        rows = await asyncio.gather(*(self._row(job, scope) for scope in scopes))
        user = {"id": job.user_id, "login": ""}
        return {"version": 1, "user": user, "policy": policy.digest, "scopes": [row for row in rows if row is not None]}

    async def _row(self, job: Job, scope: Scope) -> dict[str, object] | None:
        """The scope where the job may know of it; where GitLab was late nobody is shown half a list."""
        case = await self._pipelines.case(job, scope)
        verdict = self._pipelines.verdict(case)
        if isinstance(verdict, Refused) and verdict.passing:
            raise refusal.of(verdict, decision=self._new_id(), entitled=False)
        if isinstance(verdict, Refused) and not decision.entitled(case):
            return None
        # Nothing sleeps in a job: it runs because somebody meant it to.
        return row_of(scope, verdict) | {"activation": Activation.SIGN_IN.value}
