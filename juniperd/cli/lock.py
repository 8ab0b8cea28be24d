"""``juniper lock``: nothing for any tool until ``juniper unlock``; leases and tokens are forgotten from memory."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from juniperd.cli import connection
from juniperd.cli.up import ensure_agent

EXAMPLES = "examples:\n  juniper lock\n  juniper unlock"


def register(parser: argparse.ArgumentParser) -> None:
    """Which sign-in; all by default."""
    parser.add_argument("--issuer", help="the issuer whose sign-in is locked; without it, all")


def run(args: argparse.Namespace) -> int:
    """Lock, and say what unlocking will take."""
    # Where none runs, the next tool would start one that reads the keyring.
    ensure_agent()
    issuers = connection.result("lock", {"issuer": args.issuer}).get("issuers")
    print("locked; run: juniper unlock")
    for issuer, rests in issuers.items() if isinstance(issuers, Mapping) else ():
        if not rests:
            print(f"note: the sign-in of {issuer} was in memory only and is forgotten; unlocking takes: juniper login")
    return 0
