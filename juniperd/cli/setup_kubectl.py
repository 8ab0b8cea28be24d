"""``juniper setup kubectl``: the kubeconfig of our own, from what the person holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from juniperd import paths
from juniperd.cli import connection
from juniperd.errors import ConfigError
from juniperd.protocols.kubectl import HELPER
from juniperd.setup import files, kubectl
from juniperd.setup.kubectl import Place, Theirs


def run(*, diff: bool, undo: bool) -> int:
    """Write it, or remove it; the person's own files are never touched."""
    # Beside our own settings: it says where tools go, so it is configuration and no state.
    path = paths.config_path().with_name("kubeconfig")
    old = files.read(path)
    kubectl.check_ours(path, old)
    new = "" if undo else _wanted(path)
    change = files.diff(path, old, new)
    print(change or f"{path}: nothing to change", end="" if change else "\n")
    if diff:
        return 0
    if change:
        backup = files.write(path, old, new) if new else files.remove(path, old)
        print(f"{'written' if new else 'removed'}: {path}" + (f" (before: {backup})" if backup else ""))
    line = kubectl.export_line(path, os.environ) if new else None
    if line is not None:
        print(f"next: {line}")
    return 0


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
        raise ConfigError(msg, "run: juniper scopes")
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
