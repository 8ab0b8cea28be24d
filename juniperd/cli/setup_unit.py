"""``juniper setup unit``: the systemd user unit that starts the agent when a tool first asks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from juniperd.cli import setup_plan, unit, up
from juniperd.cli.setup_plan import Deed, PassedOver, Plan, Wish
from juniperd.errors import ConfigError
from juniperd.setup import files, units

NEEDS_SIGN_IN = False
PROGRAMS: tuple[str, ...] = ()


def plan(wish: Wish) -> Plan:
    """Our unit files where no package brings any, and the socket enabled; or neither."""
    program = unit.manager(os.environ)
    if program is None:
        msg = "no systemd user manager answers for this agent"
        raise PassedOver(msg, "leave it: the first tool that asks starts the agent")
    return _without(program) if wish.undo else _with(program)


def _with(program: str) -> Plan:
    folder = units.folder(os.environ, Path.home())
    juniperd = Path(sys.argv[0]).resolve().with_name("juniperd")
    wanted = {} if units.packaged() else units.wanted(juniperd)
    changes = []
    for name, text in wanted.items():
        old = files.read(folder / name)
        if old and not units.is_ours(old):
            msg = f"{folder / name} is not as juniper wrote it"
            raise ConfigError(msg, "move it away, then run: juniper setup unit")
        changes.append(setup_plan.change(folder / name, old, text))
    deeds = [Deed("systemctl --user daemon-reload", lambda: unit.do(program, "daemon-reload"))]
    by_hand = up.answers() and unit.enabled(os.environ) is None
    # An agent that was started by hand may hold the only copy of a sign-in, so it is not put out of its place.
    words = ("enable", unit.SOCKET) if by_hand else ("enable", "--now", unit.SOCKET)
    enable = Deed(f"systemctl --user {' '.join(words)}", lambda: unit.do(program, *words))
    if all(change.new == change.old for change in changes):
        deeds = []
    if unit.enabled(os.environ) is None:
        deeds.append(enable)
    notes = ("next: juniper down; juniper up",) if by_hand else ()
    return Plan(tuple(changes), tuple(deeds), notes=notes)


def _without(program: str) -> Plan:
    folder = units.folder(os.environ, Path.home())
    texts = {folder / name: files.read(folder / name) for name in units.NAMES}
    changes = tuple(setup_plan.change(path, old, "") for path, old in texts.items() if units.is_ours(old))
    first, deeds = [], []
    # While its files are there: what systemd has forgotten it cannot stop.
    if unit.enabled(os.environ) is not None:
        words = ("disable", "--now", unit.SOCKET, unit.SERVICE)
        first.append(Deed(f"systemctl --user {' '.join(words)}", lambda: unit.do(program, *words)))
    if changes:
        deeds.append(Deed("systemctl --user daemon-reload", lambda: unit.do(program, "daemon-reload")))
    return Plan(changes, tuple(deeds), first=tuple(first))
