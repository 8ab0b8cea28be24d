"""What tests need of the machine they run on: absent, they are skipped aloud; where everything is promised, they fail."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

EVERYTHING = "JUNIPER_REQUIRE_PEERS"
"""Set to 1 where no peer may be missing, as in CI: a test that is never run proves nothing."""


def require_peer(name: str, reason: str) -> NoReturn:
    """Skip the test for want of ``name``, or fail it where :data:`EVERYTHING` is promised."""
    if os.environ.get(EVERYTHING) == "1":
        pytest.fail(f"{name} is missing here: {reason}; run: make setup")
    pytest.skip(f"needs {name}: {reason}")
