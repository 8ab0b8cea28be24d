"""This process's memory, which holds secrets: no core file is made of it, and no other process of its user reads it."""

from __future__ import annotations

import resource
import sys

_PR_SET_DUMPABLE = 4


def keep_private() -> None:
    """From here to its end; each program says so before it reads a secret."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        # prctl(2): a process that is not dumpable cannot be attached to by its own user either.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
