"""What the agent tells for ``juniper log``: its own counts, and each issuer's trail of the person who is signed in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Protocol

from juniperd.errors import ConfigError, JuniperError
from juniperd.identity import SubjectToken
from juniperd.issuer_client import IssuerClient
from juniperd.model import Clock, rfc3339
from juniperd.protocols.control import ControlRequest
from juniperd.uses import Times, Uses

Event = Mapping[str, object]
PATIENCE = 5.0
"""Seconds for one issuer and its provider; what is known here is told without them."""


class SignedIn(Protocol):
    """The person's sign-in, as far as reading their trail needs it."""

    async def subject(self, *, fresh: bool = False) -> SubjectToken:
        """The token to show."""


class Counter(Protocol):
    """One issuer with the sign-in there."""

    @property
    def issuer(self) -> IssuerClient:
        """The issuer."""

    @property
    def sign_in(self) -> SignedIn:
        """The sign-in."""


class Recall:
    """The control request ``log``; ``chosen`` answers the issuers that a request means."""

    def __init__(
        self,
        uses: Uses,
        chosen: Callable[[ControlRequest], Mapping[str, Counter]],
        *,
        clock: Clock,
        started_at: float,
    ) -> None:
        self._uses = uses
        self._chosen = chosen
        self._clock = clock
        self._started_at = started_at
        self.verbs: Mapping[str, Callable[[ControlRequest], AsyncGenerator[Event, None]]] = {"log": self._log}

    async def _log(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        back = request.seconds("seconds")
        since = self._clock() - back
        desks, problem = self._desks(request)
        trails = await asyncio.gather(*(_trail(name, desk, back) for name, desk in desks.items()))
        yield {
            "event": "result",
            "since": rfc3339(since),
            "started_at": rfc3339(self._started_at),
            "issuers": dict(zip(desks, trails, strict=True)),
            "problem": problem,
            "uses": [{**use._asdict(), **_shown(times)} for use, times in self._uses.given.since(since)],
            "refusals": [{**one._asdict(), **_shown(times)} for one, times in self._uses.refused.since(since)],
        }

    def _desks(self, request: ControlRequest) -> tuple[Mapping[str, Counter], str | None]:
        """Whom to ask; without an issuer there is still what happened here, and why there is no more."""
        try:
            return self._chosen(request), None
        except ConfigError as error:
            if request.text("issuer") is not None:
                raise
            return {}, str(error)


async def _trail(name: str, desk: Counter, back: int) -> Event:
    """The issuer's events, or in one line why there are none."""
    try:
        async with asyncio.timeout(PATIENCE):
            events, more = await desk.issuer.log(await desk.sign_in.subject(), back)
    except JuniperError as error:
        return {"events": [], "more": False, "problem": str(error)}
    except TimeoutError:
        return {"events": [], "more": False, "problem": f"issuer '{name}' did not answer in time; try again"}
    return {"events": events, "more": more, "problem": None}


def _shown(times: Times) -> Event:
    return {"count": times.count, "first": rfc3339(times.first), "last": rfc3339(times.last)}
