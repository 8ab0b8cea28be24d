"""What ``juniper setup docker`` and ``juniper setup git`` share: hosts in ``juniper.toml`` beside a tool's own file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from juniperd import config, paths
from juniperd.cli import connection
from juniperd.errors import AgentMissing
from juniperd.setup import files, hosts
from juniperd.setup.hosts import Offer, Rows


@dataclass(frozen=True, slots=True)
class Change:
    """A file before and after, and its difference as it is shown."""

    path: Path
    old: str
    new: str
    shown: str


def held(kind: str) -> list[Offer]:
    """What the person holds at hosts of one kind."""
    return hosts.offers(connection.result("catalogue")["issuers"], kind)


def recorded(of: Callable[[config.Hosts], dict[str, str]]) -> Rows:
    """The hosts that stand in ``juniper.toml`` already."""
    issuers = config.load(paths.config_path()).issuers
    return {name: of(entry.hosts) for name, entry in issuers.items()}


def in_juniper_toml(kind: str, rows: Rows) -> Change:
    """The hosts of one kind as they should be in ``juniper.toml``."""
    path = paths.config_path()
    old = files.read(path)
    if old:
        config.load(path)
    new = hosts.with_hosts(old, kind, rows)
    return Change(path, old, new, files.diff(path, old, new))


def apply(changes: Sequence[Change], *, diff: bool) -> None:
    """Show the changes, and unless ``diff`` write them and have a running agent read them."""
    for change in changes:
        print(change.shown or f"{change.path}: nothing to change", end="" if change.shown else "\n")
    wanted = [change for change in changes if change.new != change.old]
    if diff or not wanted:
        return
    for change in wanted:
        backup = files.write(change.path, change.old, change.new)
        print(f"written: {change.path}" + (f" (before: {backup})" if backup else ""))
    with contextlib.suppress(AgentMissing):
        connection.result("hosts")
