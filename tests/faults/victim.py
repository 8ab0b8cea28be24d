"""Runs one of our programs, and kills it (-9) right before its n-th call to the outside once it is armed.

``python -m tests.faults.victim PLAN agent|issuer``. SIGUSR1 arms: the number stands in the file PLAN. The file
beside it ending in ``.told`` says ``armed``, ``disarmed`` (SIGUSR2) or ``died``, how many calls there were, and the
name of the last.

A call to the outside is one of C's that the kernel, the data base or the peer sees: what another process could
observe of ours, it observes between two of these.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import date, time
from pathlib import Path
from types import FrameType, GeneratorType
from typing import Any

OUTSIDE = frozenset(
    {
        "accept",
        "connect",
        "connect_ex",
        "send",
        "sendall",
        "sendmsg",
        "recv",
        "recv_into",
        "recvmsg",
        "shutdown",
        "execute",
        "executemany",
        "fsync",
        "flock",
        "open",
        "rename",
        "replace",
        "unlink",
        "bind",
        "listen",
    }
)


_HARMLESS = (str, bytes, bytearray, date, time, GeneratorType)
"""What has a ``replace`` or a ``send`` that nobody outside sees."""


class Plan:
    """How far the program may still go."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = path.with_suffix(".told")
        self._limit = 0
        self._count = 0
        self._last = ""

    def arm(self, _number: int, _frame: FrameType | None) -> None:
        """Begin to count."""
        self._count, self._last = 0, ""
        limit = int(self._path.read_text())
        self._tell("armed")
        self._limit = limit

    def disarm(self, _number: int, _frame: FrameType | None) -> None:
        """Stop counting, and say how many there were."""
        self._limit = 0
        self._tell("disarmed")

    def watch(self, _frame: FrameType, event: str, called: Any) -> None:
        """The profiler's hook: every call of every thread."""
        if not self._limit or event != "c_call" or called.__name__ not in OUTSIDE:
            return
        owner = getattr(called, "__self__", None)
        if isinstance(owner, _HARMLESS):
            return
        self._count += 1
        self._last = f"{getattr(owner, '__name__', None) or type(owner).__name__}.{called.__name__}"
        if self._count >= self._limit:
            self._limit = 0
            try:
                self._tell("died")
            finally:
                os.kill(os.getpid(), signal.SIGKILL)

    def _tell(self, state: str) -> None:
        """In one rename, so that nobody reads half of it; a thread may die while the main one is told to disarm."""
        scratch = self._told.with_suffix(f".{state}")
        scratch.write_text(f"{state} {self._count} {self._last}")
        scratch.rename(self._told)


def main() -> int:
    """Install the hook, then be the program."""
    plan, program = Plan(Path(sys.argv[1])), sys.argv[2]
    signal.signal(signal.SIGUSR1, plan.arm)
    signal.signal(signal.SIGUSR2, plan.disarm)
    threading.setprofile(plan.watch)
    sys.setprofile(plan.watch)
    from juniperd import app
    from juniperd.identity import device

    # The provider of these tests asks for polls every hundredth of a second; no real one may.
    device.SHORTEST_INTERVAL = 0.01
    return app.run_agent() if program == "agent" else app.run_issuer(Path(sys.argv[3]))


if __name__ == "__main__":
    sys.exit(main())
