"""``juniper down``: stop the agent; what it held in memory is gone."""

from __future__ import annotations

import argparse
import os

from juniperd.cli import connection, unit
from juniperd.errors import AgentMissing

EXAMPLES = "examples:\n  juniper down"


def register(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(args: argparse.Namespace) -> int:
    """Ask it to end, and return once it let go of its connections; no agent is no error."""
    del args
    found = unit.enabled(os.environ)
    if found is not None and found.listens:
        # Asked through the socket, it would be started in order to be stopped.
        found.stop()
        print(f"agent: {'stopped' if found.serves else 'not running'}; {unit.SOCKET} starts it when a tool asks")
        return 0
    try:
        connection.result("down")
    except AgentMissing:
        print("agent: not running")
        return 0
    print("agent: stopped")
    return 0
