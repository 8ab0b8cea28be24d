"""What tools were given and refused since this agent began: counted in memory, bounded, and gone with it.

Most answers come from memory and never reach the issuer's trail, so only the agent can say who used what it holds.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from juniperd.errors import one_line
from juniperd.model import Clock, LeaseKey

MOST_USES = 256
MOST_REFUSALS = 50
"""What was asked for longest ago makes room for what is new."""
LONGEST_TEXT = 400
"""Characters of a refusal that are kept."""


class Use(NamedTuple):
    """One program with one helper, and what it was given; ``session`` is a debugging session's id."""

    program: str
    helper: str
    issuer: str
    scope: str
    session: str | None


class Refusal(NamedTuple):
    """One program with one helper, what it asked for, and the line it was answered with."""

    program: str
    helper: str
    scope: str
    text: str


@dataclass(slots=True)
class Times:
    """How often, and when first and last, in seconds since 1970."""

    first: float
    last: float
    count: int = 1


K = TypeVar("K", bound=Hashable)


class Tally(Generic[K]):
    """Counts what happens, and keeps the ``most`` things that happened last."""

    def __init__(self, most: int, *, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._times: dict[K, Times] = {}

    def add(self, what: K) -> None:
        """Once more."""
        now = self._clock()
        times = self._times.pop(what, None)
        if times is None:
            times = Times(now, now, 0)
            if len(self._times) >= self._most:
                del self._times[next(iter(self._times))]
        times.last = now
        times.count += 1
        # Put back at the end, so that the first one is always what happened longest ago.
        self._times[what] = times

    def since(self, moment: float) -> list[tuple[K, Times]]:
        """What happened at that moment or later, the latest last."""
        return [(what, times) for what, times in self._times.items() if times.last >= moment]


class Uses:
    """What was given, and what was refused."""

    def __init__(self, *, clock: Clock) -> None:
        self.given: Tally[Use] = Tally(MOST_USES, clock=clock)
        self.refused: Tally[Refusal] = Tally(MOST_REFUSALS, clock=clock)

    def give(self, program: str, helper: str, key: LeaseKey) -> None:
        """A tool was given what ``key`` names."""
        self.given.add(Use(program, helper, key.issuer, key.scope, key.session))

    def refuse(self, program: str, helper: str, scope: str, text: str) -> None:
        """A tool was answered with this line."""
        self.refused.add(Refusal(program, helper, scope, one_line(text, LONGEST_TEXT)))
