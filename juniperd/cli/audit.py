"""``juniper audit``: read the issuer's trail, and prove that nobody changed it."""

from __future__ import annotations

import argparse

from juniperd.cli import show
from juniperd.cli.issuer import config_path, takes_config

EXAMPLES = """examples:
  juniper audit tail -n 20
  juniper audit tail --json | jq 'select(.event == "decision" and .verdict == "refused")'
  juniper audit tail --follow
  juniper audit verify"""


def register(parser: argparse.ArgumentParser) -> None:
    """Both verbs only read."""
    takes_config(parser)
    verbs = parser.add_subparsers(dest="audit_verb", required=True, metavar="VERB")
    tail = verbs.add_parser("tail", help="the last events, one a line")
    tail.add_argument("-n", type=int, default=1000, metavar="N", dest="count", help="how many (default: 1000)")
    tail.add_argument("--json", action="store_true", help="one JSON object a line")
    tail.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    verify = verbs.add_parser("verify", help="walk the chain of hashes")
    verify.add_argument("--head", metavar="SEQ:HASH", help="a head the issuer printed, kept elsewhere")
    for verb in verbs.choices.values():
        takes_config(verb, default=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Read."""
    from juniperd.issuer import commands

    path = config_path(args.config)
    if args.audit_verb == "tail":
        return commands.audit_tail(path, count=args.count, as_json=args.json, follow=args.follow)
    return show.outcome("juniper audit", commands.audit_verify(path, head=args.head))
