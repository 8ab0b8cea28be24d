"""Opens the hearing of whoever asks for a token: a laptop's, or a pipeline's."""

from __future__ import annotations

from juniperd.issuer.ground import Ground
from juniperd.issuer.hearing import Hearing
from juniperd.issuer.job import Job
from juniperd.issuer.judge import Judge
from juniperd.issuer.laptop import LaptopHearing
from juniperd.issuer.limits import Rate
from juniperd.issuer.pipeline import PipelineHearing, Pipelines
from juniperd.issuer.policy import Policy
from juniperd.issuer.subject import Caller, Subject
from juniperd.issuer.token_request import TokenRequest


class Docket:
    """Both kinds of subject before one policy."""

    def __init__(self, ground: Ground, *, judge: Judge, pipelines: Pipelines) -> None:
        self._ground = ground
        self._judge = judge
        self._pipelines = pipelines
        self._strangers = Rate(ground.config.limits.per_address, clock=ground.clock)

    @property
    def policy(self) -> Policy:
        """The policy in force at this moment."""
        return self._judge.policy

    def admits(self, caller: Caller) -> bool:
        """Whether the caller may be heard now: everybody at a public GitLab may run jobs, and all that no scope names share one limit."""
        stranger = isinstance(caller, Job) and not self._pipelines.knows(caller)
        return not stranger or self._strangers.spend("jobs")

    def hearing(self, caller: Caller, request: TokenRequest) -> Hearing:
        """The request of a verified caller, to be decided on."""
        if isinstance(caller, Subject):
            return LaptopHearing(caller, request, self._judge, self._ground.state, self._ground.clock)
        return PipelineHearing(caller, request, self._pipelines)
