"""``juniper down``: stop the agent; what it held in memory is gone."""

from __future__ import annotations

import argparse

from juniperd.cli import connection
from juniperd.errors import AgentMissing

EXAMPLES = "examples:\n  juniper down"


def register(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(args: argparse.Namespace) -> int:
    """Ask it to end, and return once it let go of its connections; no agent is no error."""
    del args
    try:
        connection.result("down")
    except AgentMissing:
        print("agent: not running")
        return 0
    print("agent: stopped")
    return 0
