"""``juniper setup kubectl``: the kubeconfig of our own, from what the person holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from juniperd import paths
from juniperd.cli import connection, setup_plan
from juniperd.cli.setup_plan import PassedOver, Plan, Wish
from juniperd.protocols.kubectl import HELPER
from juniperd.setup import files, kubectl
from juniperd.setup.kubectl import Place, Theirs

NEEDS_SIGN_IN = True
PROGRAMS: tuple[str, ...] = ("kubectl",)


def plan(wish: Wish) -> Plan:
    """The file as it should be, or its removal; the person's own files are never touched."""
    # Beside our own settings: it says where tools go, so it is configuration and no state.
    path = paths.config_path().with_name("kubeconfig")
    old = files.read(path)
    kubectl.check_ours(path, old)
    new = "" if wish.undo else _wanted(path)
    line = kubectl.export_line(path, os.environ) if new else None
    return Plan((setup_plan.change(path, old, new),), notes=(f"next: {line}",) if line else ())


def _wanted(path: Path) -> str:
    theirs = Theirs(path, os.environ)
    places = _places(connection.result("catalogue")["issuers"])
    lacking = any(one.ca_sha256 and not one.authority for one in places)
    found, without = kubectl.with_authorities(places, theirs.authorities() if lacking else ())
    for one in without:
        cure = "ask whoever runs the issuer to give it a ca_file, or add the cluster to your own kubeconfig first"
        print(f"left out: {one.relying_party} for {one.scope}, whose CA is not here; {cure}", file=sys.stderr)
    if not found:
        msg = "you hold no scope at a cluster that could be set up"
        raise PassedOver(msg, "run: juniper scopes")
    for name in sorted(theirs.contexts() & kubectl.names(found).keys()):
        cure = f"run: kubectl config rename-context {name} {name}-own"
        print(f"warning: your own kubeconfig has a context {name}, which wins over this one; {cure}", file=sys.stderr)
    helper = Path(sys.argv[0]).resolve().with_name(HELPER)
    return kubectl.kubeconfig(found, helper)


def _places(catalogues: object) -> list[Place]:
    """Every scope that the person holds at a cluster; the issuer is named where several are configured."""
    if not isinstance(catalogues, Mapping):
        return []
    several = len(catalogues) > 1
    return [
        kubectl.place(str(scope["name"]), target, issuer=str(issuer) if several else "")
        for issuer, catalogue in catalogues.items()
        for scope in catalogue["scopes"]
        if scope["held"]
        for target in scope["targets"]
        if target["kind"] == "kubernetes"
    ]
