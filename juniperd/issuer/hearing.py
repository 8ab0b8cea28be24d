"""One request for a token while it is decided on: the same road for laptops and pipelines, with each one's own facts."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from juniperd.issuer import decision
from juniperd.issuer.policy import Scope, Target, token_scopes
from juniperd.issuer.token_request import DEPLOY_TOKEN, TokenRequest
from juniperd.issuer.verdict import AnyCase, Grant, Permitted, Refused, Verdict


@dataclass(frozen=True, slots=True)
class Decided:
    """A verdict with everything its record says."""

    verdict: Verdict
    case: AnyCase | None = None
    target: Target | None = None
    session: str | None = None
    session_ends: float | None = None
    belongs: bool = False
    """Whether whoever asks may know what is wrong with a name that no scope has."""

    @property
    def entitled(self) -> bool:
        """Whether they may hear the reason of a refusal."""
        return self.belongs if self.case is None else decision.entitled(self.case)


class Hearing(Protocol):
    """A verified caller and their request."""

    @property
    def caller(self) -> tuple[str, str]:
        """Who asks, as the trail and the orders name them."""

    @property
    def thumbprint(self) -> str:
        """The key that asks."""

    async def decide(self) -> Decided:
        """The verdict on the facts as they are now."""

    def last_look(self, connection: sqlite3.Connection, decided: Decided) -> Verdict:
        """The verdict, unless something that it stands on has ended meanwhile; within the recording transaction."""

    def remember(self, connection: sqlite3.Connection, grant: Grant, now: float) -> None:
        """Keep what a yes says of the caller."""

    def said(self, decided: Decided) -> Mapping[str, object]:
        """Who asks, for the record."""


def aimed(request: TokenRequest, scope: Scope, verdict: Verdict) -> tuple[Verdict, Target | None]:
    """The verdict with the target that is asked for; only facts say who may be told which parties there are."""
    target = scope.target(request.audience)
    late = isinstance(verdict, Refused) and verdict.passing
    if not late and (target is None or target.relying_party.made_of is not None):
        return Refused("select", "unknown_target", _which(scope)), target
    if isinstance(verdict, Permitted) and target is not None:
        return _of_another_type(request, target) or verdict, target
    return verdict, target


def _of_another_type(request: TokenRequest, target: Target) -> Refused | None:
    """Where a deploy token is asked for by its type and none is made; a JWT's type asks for whatever there is."""
    if request.requested_token_type != DEPLOY_TOKEN or token_scopes(target):
        return None
    return Refused("select", "token_type", f"no deploy token is made for {target.relying_party.name}; ask for a JWT")


def _which(scope: Scope) -> str:
    names = ", ".join(t.relying_party.name for t in scope.targets if t.relying_party.made_of is None)
    return f"scope {scope.name} has the relying parties {names}; choose one as audience"
