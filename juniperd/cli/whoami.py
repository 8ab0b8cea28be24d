"""``juniper whoami``: who is signed in, and at which issuer."""

from __future__ import annotations

import argparse

from juniperd.cli import connection, show

EXAMPLES = "examples:\n  juniper whoami\n  juniper whoami --json"


def register(parser: argparse.ArgumentParser) -> None:
    """Which sign-in, and for whom to print it."""
    parser.add_argument("--issuer", help="the issuer, where several are configured")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    """The GitLab user whom the issuer takes this sign-in for."""
    answer = dict(connection.result("whoami", {"issuer": args.issuer}))
    answer.pop("event", None)
    if args.json:
        show.as_json(answer)
    else:
        until = show.clock_time(answer.get("ends_at"))
        print(f"{show.person(answer.get('user'))} at {answer['issuer']}, until {until}")
    return 0
