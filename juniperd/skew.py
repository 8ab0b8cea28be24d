"""How far this machine's clock is from the clocks of the servers we call, read off their ``Date`` headers."""

from __future__ import annotations

from juniperd.model import Clock

TOLERATED = 60.0
"""Seconds; RFC 9449 proofs and ID tokens are checked with this leeway, so less does no harm."""

LONGEST_WAY = 15.0
"""Seconds; longer than any call of ours may take."""


class ClockSkew:
    """The latest observation; positive where this machine is ahead."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds = 0.0

    def observe(self, date: float | None, *, asked_at: float) -> None:
        """Note a server's ``Date`` (whole seconds, RFC 9110 section 6.6.1) as its answer arrives.

        An answer that was long on its way says nothing: the laptop may have slept while it waited.
        """
        now = self._clock()
        if date is not None and 0 <= now - asked_at <= LONGEST_WAY:
            # The header is cut to whole seconds: its middle is the best guess.
            self.seconds = now - (date + 0.5)

    @property
    def complaint(self) -> str | None:
        """One clause naming the skew, where it is large enough to break things."""
        if abs(self.seconds) <= TOLERATED:
            return None
        side = "ahead of" if self.seconds > 0 else "behind"
        return f"this machine's clock is {abs(self.seconds):.0f} s {side} the servers'"

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return "set this machine's clock (timedatectl set-ntp true), then try again"
