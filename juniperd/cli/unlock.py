"""``juniper unlock``: go on with the sign-in that rests in the keyring."""

from __future__ import annotations

import argparse

from juniperd.cli import connection

EXAMPLES = "examples:\n  juniper unlock"


def register(parser: argparse.ArgumentParser) -> None:
    """Which sign-in; all by default."""
    parser.add_argument("--issuer", help="the issuer whose sign-in is unlocked; without it, all")


def run(args: argparse.Namespace) -> int:
    """Unlock."""
    connection.result("unlock", {"issuer": args.issuer})
    print("unlocked")
    return 0
