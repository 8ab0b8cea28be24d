"""``juniper setup docker``: a helper for each registry that the person holds a scope at, and what a bare host means."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from juniperd.cli import setup_hosts
from juniperd.cli.setup_plan import Change, PassedOver, Plan, Wish
from juniperd.errors import UsageError
from juniperd.protocols.docker import HELPER
from juniperd.setup import docker, files, hosts
from juniperd.setup.hosts import Offer, Rows

KIND = "registry"
CLOUDS = frozenset({"ecr", "gar"})
"""The providers whose repositories have names of their own, so that the only project that is held there is the one meant."""


NEEDS_SIGN_IN = True
PROGRAMS: tuple[str, ...] = ("docker", "podman", "skopeo", "crane")


def plan(wish: Wish) -> Plan:
    """Both files as they should be, or without what is ours."""
    _check(wish)
    path = docker.config_file(os.environ, Path.home())
    old = files.read(path)
    current = docker.read(path, old)
    found = [] if wish.undo else _held(current)
    recorded = {} if wish.undo else setup_hosts.recorded(lambda h: dict(h.registries))
    rows = {} if wish.undo else hosts.rows(found, recorded, wish.project, wish.host)
    named = [one for of_issuer in rows.values() for one in of_issuer]
    new = current.with_helpers(named) if named else docker.given_back(current, files.before(path))
    shown = files.diff(path, docker.shown(current), docker.shown(docker.read(path, new)))
    # An empty file that stays without our lines stays as it was.
    change = Change(path, old, new if shown else old, shown)
    changes = (change, setup_hosts.in_juniper_toml(KIND, rows))
    return Plan(changes, notes=tuple(_notes(found, rows)), afterwards=setup_hosts.tell_agent)


def _check(wish: Wish) -> None:
    if wish.host is not None and wish.project is None:
        msg = "--host says where the project is, and none is named"
        raise UsageError(msg, "add: --project GROUP/PROJECT")
    if wish.undo and wish.project is not None:
        msg = "--undo takes out all that is ours, whatever the project"
        raise UsageError(msg, "leave --project away")


def _held(current: docker.DockerConfig) -> list[Offer]:
    """What is held at registries that no other helper answers for."""
    offered = setup_hosts.held(KIND)
    if not offered:
        msg = "you hold no scope at a registry"
        raise PassedOver(msg, "run: juniper scopes")
    every = list(dict.fromkeys(one.host for one in offered))
    helper = Path(sys.argv[0]).resolve().with_name(HELPER)
    for shadow in docker.shadows(current, every, os.environ, helper):
        print(f"warning: {shadow}", file=sys.stderr)
    others = current.others(every)
    return [one for one in offered if one.host not in others]


def _notes(found: Sequence[Offer], rows: Rows) -> Iterator[str]:
    """What the bare host means now: all that Docker says of an image is the registry's name."""
    for host, project in [row for of_issuer in rows.values() for row in of_issuer.items()]:
        there = [one for one in found if one.host == host]
        held = list(dict.fromkeys(one.project for one in there))
        one_of = held[0] if len(held) == 1 else "GROUP/PROJECT"
        choose = f"{docker.COMMAND} --project {one_of} --host {host}"
        if project and project not in held:
            print(f"warning: {host} means {project}, which is none that you hold; run: {choose}", file=sys.stderr)
        elif project:
            yield f"{host} means {project}"
        elif len(held) > 1 or any(one.provider not in CLOUDS for one in there):
            yield f"{host} means no project yet; you hold {', '.join(held)}"
            yield f"next: {choose}"
