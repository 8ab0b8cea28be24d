"""``juniper policy``: check the issuer's policy files before anybody merges them."""

from __future__ import annotations

import argparse
from pathlib import Path

from juniperd.cli import show
from juniperd.cli.issuer import config_path, takes_config

EXAMPLES = """examples:
  juniper policy check policy/ relying_parties/
  juniper policy check policy/ relying_parties/ --against main-policy/
  juniper policy check --config /etc/juniper/issuer.toml
  juniper policy schema >juniper-policy.schema.json"""


def register(parser: argparse.ArgumentParser) -> None:
    """Check the files, or tell an editor how to."""
    verbs = parser.add_subparsers(dest="policy_verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="read the files as the issuer would, and say what they allow too widely")
    check.add_argument("policy", type=Path, nargs="?", help="a policy file or folder (default: what issuer.toml names)")
    check.add_argument("relying_parties", type=Path, nargs="?", help="the relying parties' file or folder")
    check.add_argument("--against", type=Path, metavar="OLD", help="an older policy: print who gains what")
    takes_config(check)
    schema = verbs.add_parser("schema", help="the files' keys as a JSON Schema, for editors")
    schema.add_argument("--markdown", action="store_true", help="as tables for people")


def run(args: argparse.Namespace) -> int:
    """Check; the status is 0 only for files the issuer would take."""
    from juniperd.issuer import commands

    if args.policy_verb == "schema":
        return show.outcome("juniper policy", commands.policy_schema(markdown=args.markdown))
    if args.policy is not None:
        found = commands.policy_check(args.policy, args.relying_parties, against=args.against)
    else:
        found = commands.policy_check_configured(config_path(args.config), against=args.against)
    return show.outcome("juniper policy", found)
