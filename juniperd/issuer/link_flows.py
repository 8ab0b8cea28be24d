"""Links under way: what the issuer remembers of each browser, in memory, for minutes, and never twice.

A browser is known by a cookie of 256 bits, of which only the digest is kept. Each step of a flow takes what the step
before left and leaves it under another cookie, so that nothing which was seen or copied on the way is of use later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from juniperd.issuer.code_flow import Trip
from juniperd.issuer.config import Identity
from juniperd.issuer.linking import Pair, Person
from juniperd.model import Clock, Secret

LIFE = 600.0
"""Seconds from the first step to the last: enough for two sign-ins with a second factor."""
MOST = 2_000


@dataclass(frozen=True, slots=True)
class AtProvider:
    """The browser was sent to the identity provider; nobody is known yet."""

    identity: Identity
    trip: Trip


@dataclass(frozen=True, slots=True)
class AtGitlab:
    """The person is known, and the browser was sent on to GitLab."""

    person: Person
    trip: Trip


@dataclass(frozen=True, slots=True)
class Asked:
    """Both accounts are known; only a POST with this token makes the link."""

    pair: Pair
    token: Secret


@dataclass(frozen=True, slots=True)
class Done:
    """The link is there; ``new`` where this browser made it."""

    pair: Pair
    token: Secret
    new: bool


Stage = AtProvider | AtGitlab | Asked | Done


@dataclass(frozen=True, slots=True)
class _Flow:
    stage: Stage
    began: float


class Flows:
    """The flows of all browsers; where there are too many, the oldest one of which nobody is known gives way."""

    def __init__(self, *, clock: Clock, throw: Callable[[], str], most: int = MOST) -> None:
        self._clock = clock
        self._throw = throw
        self._most = most
        self._flows: dict[str, _Flow] = {}

    def begin(self, stage: Stage) -> str | None:
        """A new flow; its cookie, or None where there is no room."""
        self._sweep()
        if len(self._flows) >= self._most and not self._give_way():
            return None
        return self._keep(_Flow(stage, self._clock()))

    def stage(self, cookie: str) -> Stage | None:
        """Where this browser stands."""
        self._sweep()
        flow = self._flows.get(_digest(cookie))
        return None if flow is None else flow.stage

    def take(self, cookie: str) -> float | None:
        """The flow, out of the table, and when it began: who takes it goes on with it or ends it, and nobody else can."""
        self._sweep()
        flow = self._flows.pop(_digest(cookie), None)
        return None if flow is None else flow.began

    def go_on(self, stage: Stage, began: float) -> str:
        """The next stage of a flow that was taken, under a new cookie and no longer than it had."""
        return self._keep(_Flow(stage, began))

    def settle(self, cookie: str, stage: Done) -> None:
        """Note the end of a flow where it stands; the first end counts."""
        digest = _digest(cookie)
        flow = self._flows.get(digest)
        if flow is not None and isinstance(flow.stage, Asked):
            self._flows[digest] = _Flow(stage, flow.began)

    def _keep(self, flow: _Flow) -> str:
        cookie = self._throw()
        self._flows[_digest(cookie)] = flow
        return cookie

    def _sweep(self) -> None:
        now = self._clock()
        for digest in [d for d, f in self._flows.items() if not 0 <= now - f.began < LIFE]:
            del self._flows[digest]

    def _give_way(self) -> bool:
        """Whoever has shown nothing makes room: else strangers could shut out those who have signed in."""
        unknown = next((d for d, f in self._flows.items() if isinstance(f.stage, AtProvider)), None)
        return unknown is not None and self._flows.pop(unknown) is not None


def _digest(cookie: str) -> str:
    """What the cookie is found by: an equal digest is the only way in, so no comparison tells how near a guess was."""
    return hashlib.sha256(cookie.encode(errors="surrogatepass")).hexdigest()
