"""``juniper setup gcloud``: a credential file per Google scope that the person holds, in a folder of our own."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from juniperd import config, paths
from juniperd.cli import connection, setup_hosts, setup_plan
from juniperd.cli.setup_plan import PassedOver, Plan, Wish
from juniperd.protocols.google import FOLDER, HELPER
from juniperd.setup import files, google
from juniperd.setup.google import GoogleScope

NEEDS_SIGN_IN = True
PROGRAMS: tuple[str, ...] = ()
"""Google's libraries read the files too, and they are no programs."""


def plan(wish: Wish) -> Plan:
    """The files as they should be, or their removal; gcloud's own data base is never touched."""
    folder = paths.config_path().with_name(FOLDER)
    old = {path: files.read(path) for path in folder.glob("*.json")}
    found = [] if wish.undo else _scopes()
    if not found and not old and not wish.undo:
        msg = "you hold no scope at Google"
        raise PassedOver(msg, "run: juniper scopes")
    helper = Path(sys.argv[0]).resolve().with_name(HELPER)
    new = {folder / f"{one.name}.json": google.credential_file(one, helper) for one in found}
    for path, text in old.items():
        google.check_ours(path, text)
    for shadow in google.shadows(os.environ) if new else ():
        print(f"warning: {shadow}", file=sys.stderr)
    every = sorted({*old, *new})
    changes = tuple(setup_plan.change(path, old.get(path, ""), new.get(path, "")) for path in every)
    return Plan(changes, notes=tuple(_notes(sorted(new))), afterwards=setup_hosts.tell_agent)


def _notes(written: list[Path]) -> Iterator[str]:
    """What makes the tools use them."""
    if written and os.environ.get(google.ALLOW) != "1":
        yield f"next: export {google.ALLOW}=1"
    for path in written:
        yield f"next: gcloud auth login --cred-file={shlex.quote(str(path))}"
    if written:
        yield f"or, for libraries: export GOOGLE_APPLICATION_CREDENTIALS={shlex.quote(str(written[0]))}"


def _scopes() -> list[GoogleScope]:
    """Every Google scope that the person holds; the issuer is named where several are configured."""
    sandbox = config.load(paths.config_path()).sandbox
    catalogues = connection.result("catalogue")["issuers"]
    if not isinstance(catalogues, Mapping):
        return []
    several = len(catalogues) > 1
    return [
        one
        for issuer, catalogue in catalogues.items()
        for one in google.scopes(
            [row for row in catalogue["scopes"] if row["held"]], issuer=str(issuer) if several else "", sandbox=sandbox
        )
    ]
