"""Processes by pid *and* start time, so that a pid used again by somebody else is never ours."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TERM_LIMIT: Final = 8.0
_POLL: Final = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """One process, as certain as the system lets us say."""

    name: str
    pid: int
    started: str

    @classmethod
    def of(cls, name: str, pid: int) -> Process:
        """The process that has this pid now."""
        return cls(name, pid, _started(pid) or "")

    def runs(self) -> bool:
        """Whether exactly this process still runs; one that waits to be reaped does not."""
        return bool(self.started) and _started(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Send a signal if it still runs."""
        if self.runs():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def end(processes: Sequence[Process], *, limit: float = TERM_LIMIT) -> list[Process]:
    """Ask each to end, then end it; the answer is what had to be killed."""
    for process in processes:
        process.send(signal.SIGTERM)
    left = _wait(processes, limit)
    for process in left:
        process.send(signal.SIGKILL)
    _wait(left, limit)
    return left


def _wait(processes: Sequence[Process], limit: float) -> list[Process]:
    deadline = time.monotonic() + limit
    left = [process for process in processes if process.runs()]
    while left and time.monotonic() < deadline:
        time.sleep(_POLL)
        left = [process for process in left if process.runs()]
    return left


def _started(pid: int) -> str | None:
    """When the process with this pid began, in the system's own unit; None where there is none or it is a zombie."""
    if Path("/proc/self/stat").exists():
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # proc(5): the name in parentheses may hold anything; state is field 3 and start time field 22.
        fields = text.rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else fields[19]
    answer = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return None if not answer or answer.startswith("Z") else answer.partition(" ")[2].strip()
