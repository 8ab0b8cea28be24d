"""``juniper setup aws``: one profile per AWS scope that the person holds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from juniperd import config, paths
from juniperd.cli import connection, setup_plan
from juniperd.cli.setup_plan import PassedOver, Plan, Wish, or_by_hand
from juniperd.setup import aws, files
from juniperd.setup.aws import Profile

NEEDS_SIGN_IN = True
PROGRAMS: tuple[str, ...] = ("aws",)


def plan(wish: Wish) -> Plan:
    """The block in the AWS tools' configuration as it should be, or without it."""
    home = Path.home()
    path = aws.config_file(os.environ, home)
    profiles = [] if wish.undo else _profiles()
    if not profiles and not wish.undo and not aws.stands(files.read(path)):
        msg = "you hold no scope at AWS"
        raise PassedOver(msg, "run: juniper scopes")
    helper = Path(sys.argv[0]).resolve().with_name("juniper-aws")
    with or_by_hand(aws.with_profiles("", profiles, helper)):
        old = files.read(path)
        aws.without_profiles(old)
    new = aws.with_profiles(old, profiles, helper)
    credentials = files.read(aws.credentials_file(os.environ, home)) if profiles else ""
    for shadow in aws.shadows(profiles, credentials, os.environ) if profiles else ():
        print(f"warning: {shadow}", file=sys.stderr)
    return Plan((setup_plan.change(path, old, new),))


def _profiles() -> list[Profile]:
    """One profile per AWS scope the person holds; a name is prefixed where several issuers are configured."""
    sandbox = config.load(paths.config_path()).sandbox
    catalogues = connection.result("catalogue")["issuers"]
    if not isinstance(catalogues, dict):
        return []
    several = len(catalogues) > 1
    return [
        Profile(
            name=f"{issuer}.{scope['name']}" if several else scope["name"],
            scope=f"{issuer}/{scope['name']}" if several else scope["name"],
            region=target["region"],
            endpoint=(target.get("endpoint") or "") if sandbox else "",
        )
        for issuer, catalogue in catalogues.items()
        for scope in catalogue["scopes"]
        if scope["held"]
        for target in scope["targets"]
        if target["kind"] == "aws"
    ]
