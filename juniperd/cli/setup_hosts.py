"""What ``juniper setup docker`` and ``juniper setup git`` share: hosts in ``juniper.toml`` beside a tool's own file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from juniperd import config, paths
from juniperd.cli import connection, setup_plan
from juniperd.cli.setup_plan import Change
from juniperd.errors import AgentMissing
from juniperd.setup import files, hosts
from juniperd.setup.hosts import Offer, Rows


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
        config.load(path, needs_issuer=False)
    return setup_plan.change(path, old, hosts.with_hosts(old, kind, rows))


def tell_agent() -> None:
    """Have an agent that runs read the hosts."""
    with contextlib.suppress(AgentMissing):
        connection.result("hosts")
