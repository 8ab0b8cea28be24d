"""What the kernel says of a process that keeps its memory to itself."""

from __future__ import annotations

import os
from pathlib import Path


def assert_private(pid: int) -> None:
    """No core file, and a /proc that is root's: an ordinary user's own process is told apart by the second alone."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]
    assert os.stat(f"/proc/{pid}/environ").st_uid == 0
