"""``juniper setup completion``: the script for the person's own shell, in a folder of theirs."""

from __future__ import annotations

import os
from pathlib import Path

from juniperd.cli import setup_plan
from juniperd.cli.setup_plan import PassedOver, Plan, Wish
from juniperd.errors import ConfigError, one_line
from juniperd.setup import completion, files

NEEDS_SIGN_IN = False
PROGRAMS: tuple[str, ...] = ()


def plan(wish: Wish) -> Plan:
    """The script where ``SHELL`` finds it; taken back from every shell's folder, as people change theirs."""
    places = completion.places(os.environ, Path.home())
    if wish.undo:
        ours = {place.path: files.read(place.path) for place in places.values()}
        return Plan(tuple(setup_plan.change(p, old, "") for p, old in ours.items() if completion.is_ours(old)))
    shell = Path(os.environ.get("SHELL", "")).name
    if shell not in places:
        msg = f"SHELL names {one_line(shell, 40) or 'no shell'}, and we know {', '.join(places)}"
        raise PassedOver(msg, "run: juniper completion bash, and keep what it prints where your shell finds it")
    if (brought := completion.packaged(shell)) is not None:
        msg = f"the package has brought {brought}"
        raise PassedOver(msg, "leave it")
    place = places[shell]
    old = files.read(place.path)
    if old and not completion.is_ours(old):
        msg = f"{place.path} is not as juniper wrote it"
        raise ConfigError(msg, "move it away, then run: juniper setup completion")
    notes = (f"next: put this before compinit in your .zshrc: {place.line}",) if place.line else ()
    return Plan((setup_plan.change(place.path, old, completion.script(shell)),), notes=notes)
