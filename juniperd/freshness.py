"""Freshness: a pure function of (now, issued_at, expires_at) on the UTC clock.

The UTC clock, because it goes on while a laptop sleeps; a monotonic clock would serve yesterday's keys after lunch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

STEP = 60.0
"""Seconds that a clock may be set back. Beyond, a lease comes from the future, and when it ends nobody knows any more."""


class Freshness(Enum):
    """Three answers: serve; serve what is valid and renew; renew or fail."""

    FRESH = "fresh"
    STALE = "stale"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Window:
    """How long before its end a lease is renewed.

    ``renew_ahead``: with fewer seconds left the lease is stale and renewed behind the answer.
    ``wait_below``: with fewer seconds left the caller waits for that renewal (AWS: botocore re-runs its process on
    every signature under 15 minutes). ``margin``: with fewer seconds left the lease counts as expired.
    ``shows``: so many answers in a minute, and whoever made the credential is asked for a new one; 0 is no bound.
    """

    renew_ahead: float
    wait_below: float = 0.0
    margin: float = 0.0
    shows: int = 0


def freshness(*, now: float, issued_at: float, expires_at: float, window: Window, jitter: float = 0.0) -> Freshness:
    """Judge one lease at ``now``.

    ``jitter`` (0 to 1) moves the renewal up to a tenth of the lease's life earlier, so that many leases made at once
    are not renewed at once. A window longer than the life is cut to half of it: a short lease is fresh for a while.
    """
    if now < issued_at - STEP:
        return Freshness.EXPIRED
    left = expires_at - now
    life = max(expires_at - issued_at, 0.0)
    if left <= window.margin:
        return Freshness.EXPIRED
    ahead = min(window.renew_ahead + jitter * life / 10, life / 2)
    return Freshness.FRESH if left > ahead else Freshness.STALE


def must_wait(*, now: float, expires_at: float, window: Window) -> bool:
    """Whether the caller of a stale lease waits for its renewal instead of getting it from behind."""
    return expires_at - now < window.wait_below
