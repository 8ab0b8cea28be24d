"""The session's environment chooses no code for the agent that systemd starts."""

from __future__ import annotations

from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "packaging/systemd/juniperd.service"


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME", "PYTHONPYCACHEPREFIX", "LD_PRELOAD", "GCONV_PATH"])
def test_what_would_load_foreign_code_is_taken_away(name: str) -> None:
    """A folder of bytecode counts as much as one of sources: what is unchecked there runs in place of ours."""
    lines = [line for line in UNIT.read_text().splitlines() if line.startswith("UnsetEnvironment=")]
    assert name in " ".join(lines).replace("=", " ").split()
