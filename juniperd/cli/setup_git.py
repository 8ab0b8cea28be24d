"""``juniper setup git``: fetching over https from the hosts that the person holds a scope at; pushing stays theirs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from juniperd.cli import setup_hosts
from juniperd.cli.setup_hosts import Change
from juniperd.errors import ConfigError
from juniperd.protocols.git import HELPER
from juniperd.setup import files, git, hosts
from juniperd.setup.hosts import Offer, Rows

KIND = "git"


def run(*, diff: bool, undo: bool) -> int:
    """Write both files, or take out of them what is ours."""
    path = git.config_file(os.environ, Path.home())
    old = files.read(path)
    offered = [] if undo else _offered()
    rows = _rows(offered)
    named = {host: _projects(offered, host) for of_issuer in rows.values() for host in of_issuer}
    if not undo:
        git.check(path, old)
    new = git.with_hosts(old, named, Path(sys.argv[0]).resolve().with_name(HELPER))
    change = Change(path, old, new, files.diff(path, old, new))
    setup_hosts.apply([change, setup_hosts.in_juniper_toml(KIND, rows)], diff=diff)
    if named:
        print("pushing stays with your own key, as nothing that lives an hour can push; to send pushes there:")
    for host in named:
        print(f"next: {git.push_line(host)}")
    return 0


def _offered() -> list[Offer]:
    offered = setup_hosts.held(KIND)
    if not offered:
        msg = "you hold no scope at a Git server"
        raise ConfigError(msg, "run: juniper scopes")
    return offered


def _projects(offered: Sequence[Offer], host: str) -> list[str]:
    return sorted({offer.project for offer in offered if offer.host == host})


def _rows(offered: Sequence[Offer]) -> Rows:
    found = hosts.rows(offered, setup_hosts.recorded(lambda h: dict.fromkeys(h.git, "")))
    return {issuer: dict.fromkeys(of_issuer, "") for issuer, of_issuer in found.items()}
