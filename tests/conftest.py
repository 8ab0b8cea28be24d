"""What the whole suite needs of the process that runs it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

# A shell starts what runs in the background with Control-C ignored, and every program under test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole processes first: at the end, where one worker would wait for another, stand short files."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
