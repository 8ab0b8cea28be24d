"""``juniper setup git``: fetching over https from the hosts that the person holds a scope at; pushing stays theirs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from juniperd.cli import setup_hosts, setup_plan
from juniperd.cli.setup_plan import PassedOver, Plan, Wish, or_by_hand
from juniperd.protocols.git import HELPER
from juniperd.setup import files, git, hosts
from juniperd.setup.hosts import Offer, Rows

KIND = "git"


NEEDS_SIGN_IN = True
PROGRAMS: tuple[str, ...] = ("git",)


def plan(wish: Wish) -> Plan:
    """Both files as they should be, or without what is ours."""
    path = git.config_file(os.environ, Path.home())
    offered = [] if wish.undo else _offered()
    rows = {} if wish.undo else _rows(offered)
    named = {host: _projects(offered, host) for of_issuer in rows.values() for host in of_issuer}
    helper = Path(sys.argv[0]).resolve().with_name(HELPER)
    with or_by_hand(git.with_hosts("", named, helper)):
        old = files.read(path)
        git.without_hosts(old)
        if not wish.undo:
            git.check(path, old)
    new = git.with_hosts(old, named, helper)
    changes = (setup_plan.change(path, old, new), setup_hosts.in_juniper_toml(KIND, rows))
    return Plan(changes, notes=tuple(_notes(named)), afterwards=setup_hosts.tell_agent)


def _notes(hosts_named: Iterable[str]) -> Iterator[str]:
    lines = [f"next: {git.push_line(host)}" for host in hosts_named]
    if lines:
        yield "pushing stays with your own key, as nothing that lives an hour can push; to send pushes there:"
    yield from lines


def _offered() -> list[Offer]:
    offered = setup_hosts.held(KIND)
    if not offered:
        msg = "you hold no scope at a Git server"
        raise PassedOver(msg, "run: juniper scopes")
    return offered


def _projects(offered: Sequence[Offer], host: str) -> list[str]:
    return sorted({offer.project for offer in offered if offer.host == host})


def _rows(offered: Sequence[Offer]) -> Rows:
    found = hosts.rows(offered, setup_hosts.recorded(lambda h: dict.fromkeys(h.git, "")))
    return {issuer: dict.fromkeys(of_issuer, "") for issuer, of_issuer in found.items()}
