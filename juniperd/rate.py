"""How often one key may do something: a bucket for each, bounded in number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from juniperd.model import Clock

_MAX_KEYS = 10_000


class Rate:
    """A bucket per key: ``at_once``, refilled evenly ``per_minute``; the least recently seen keys are forgotten."""

    def __init__(self, per_minute: int, *, clock: Clock, at_once: int | None = None) -> None:
        self._per_minute = float(per_minute)
        self._full = float(per_minute if at_once is None else at_once)
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def spend(self, key: Hashable) -> bool:
        """Take one; False where none is left."""
        left = self._left(key)
        if left < 1:
            return False
        self._buckets[key] = (left - 1, self._clock())
        self._buckets.move_to_end(key)
        if len(self._buckets) > _MAX_KEYS:
            self._buckets.popitem(last=False)
        return True

    def exhausted(self, key: Hashable) -> bool:
        """Whether none is left, without taking one."""
        return self._left(key) < 1

    def _left(self, key: Hashable) -> float:
        left, seen = self._buckets.get(key, (self._full, 0.0))
        elapsed = self._clock() - seen
        if elapsed < 0:  # the clock was set back: nobody is shut out until it comes here again
            return self._full
        return min(self._full, left + elapsed * self._per_minute / 60)
