"""Opens the hearing of whoever asks for a token: a laptop's, or a pipeline's."""

from __future__ import annotations

from juniperd.issuer.ground import Ground
from juniperd.issuer.hearing import Hearing
from juniperd.issuer.judge import Judge
from juniperd.issuer.laptop import LaptopHearing
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

    @property
    def policy(self) -> Policy:
        """The policy in force at this moment."""
        return self._judge.policy

    def hearing(self, caller: Caller, request: TokenRequest) -> Hearing:
        """The request of a verified caller, to be decided on."""
        if isinstance(caller, Subject):
            return LaptopHearing(caller, request, self._judge, self._ground.state, self._ground.clock)
        return PipelineHearing(caller, request, self._pipelines)
