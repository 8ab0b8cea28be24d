"""``juniper logout``: end the sign-in at the identity provider and the issuer, and forget it here."""

from __future__ import annotations

import argparse

from juniperd.cli import connection

EXAMPLES = "examples:\n  juniper logout"


def register(parser: argparse.ArgumentParser) -> None:
    """Which sign-in."""
    parser.add_argument("--issuer", help="the issuer to sign out of, where several are configured")


def run(args: argparse.Namespace) -> int:
    """Sign out, and say what could not be told to whom."""
    answer = connection.result("logout", {"issuer": args.issuer})
    print("signed out")
    notes = answer.get("notes")
    for note in notes if isinstance(notes, list) else []:
        print(f"note: {note}")
    return 0
