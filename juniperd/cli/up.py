"""``juniper up``: start the agent and wait until it answers."""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from juniperd.cli import connection, unit
from juniperd.door import check_folder
from juniperd.errors import AgentMissing
from juniperd.paths import check_environment, socket_path

EXAMPLES = "examples:\n  juniper up"
PATIENCE = 5.0
"""Seconds an agent may take to its first answer before we say that it did not start."""
_KEPT = ("HOME", "USER", "LANG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "DBUS_SESSION_BUS_ADDRESS")
_OURS = ("JUNIPER_CONFIG", "JUNIPER_SOCKET")


def register(parser: argparse.ArgumentParser) -> None:
    """No options: where the agent listens and what it reads, its environment and files say."""


def run(args: argparse.Namespace) -> int:
    """Start it unless it runs."""
    del args
    found = unit.enabled(os.environ)
    if found is None:
        print("agent: started" if ensure_agent() else "agent: already running")
        return 0
    by_hand = not found.listens and not ensure_agent()
    connection.result("ping", timeout=PATIENCE)
    if by_hand:
        print(f"agent: already running, started by hand; to leave it to {unit.SOCKET} run: juniper down; juniper up")
    else:
        print(f"agent: {'already running' if found.serves else 'started'}, by {unit.SOCKET}")
    return 0


def ensure_agent() -> bool:
    """See that an agent answers, or will as soon as it is asked; True if something had to be started."""
    if answers():
        return False
    found = unit.enabled(os.environ)
    if found is not None:
        found.listen()
        return True
    check_environment(os.environ)
    check_folder(socket_path().parent)
    agent = _start()
    deadline = time.monotonic() + PATIENCE
    while not answers():
        if agent.poll() not in (None, 0):
            msg = f"juniperd ended with status {agent.returncode}"
            raise AgentMissing(msg, "run it in the foreground to see why: juniperd")
        if time.monotonic() > deadline:
            msg = f"juniperd did not answer within {PATIENCE:.0f} s"
            raise AgentMissing(msg, "run it in the foreground to see why: juniperd")
        select.select([], [], [], 0.01)  # nothing to wait on: the socket does not exist yet
    return True


def answers() -> bool:
    """Whether an agent is there."""
    try:
        connection.connect(socket_path(), 1.0).close()
    except AgentMissing:
        return False
    return True


def _start() -> subprocess.Popen[bytes]:
    program = Path(sys.argv[0]).resolve().with_name("juniperd")
    if not program.is_file():
        msg = f"no juniperd beside {sys.argv[0]}"
        raise AgentMissing(msg, "reinstall juniperd")
    kept = {name: os.environ[name] for name in (*_KEPT, *_OURS) if name in os.environ}
    return subprocess.Popen(
        [program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=kept,
        start_new_session=True,
    )
