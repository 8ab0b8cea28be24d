"""The agent's log: one JSON object a line on standard error, with a fixed vocabulary and no secrets."""

from __future__ import annotations

import json
from typing import TextIO

from juniperd.errors import one_line
from juniperd.model import Clock, rfc3339


class Journal:
    """Where the agent notes what it did."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock

    def note(self, event: str, **fields: float | str | None) -> None:
        """One event. Only numbers and text: a ``Secret`` does not fit the type, and would come out masked."""
        line = {"time": rfc3339(self._clock()), "event": event}
        kept = {name: _plain(value) for name, value in fields.items() if value is not None}
        try:
            print(json.dumps({**line, **kept}), file=self._stream, flush=True)
        except (OSError, ValueError):
            # A log that cannot be written to is no reason to stop serving.
            return


def _plain(value: object) -> float | str:
    return value if isinstance(value, int | float) else one_line(str(value))
