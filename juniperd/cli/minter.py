"""``juniper minter``: run the process that makes deploy tokens by the issuer's orders."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from juniperd.errors import UsageError

EXAMPLES = """examples:
  juniper minter check --config /etc/juniper/minter.toml
  juniper minter serve --config /etc/juniper/minter.toml"""


def register(parser: argparse.ArgumentParser) -> None:
    """The minter's verbs; both take ``--config``, before or after."""
    about = "minter.toml (default: JUNIPER_MINTER_CONFIG)"
    parser.add_argument("--config", type=Path, help=about)
    verbs = parser.add_subparsers(dest="minter_verb", required=True, metavar="VERB")
    verbs.add_parser("serve", help="run the minter in the foreground")
    verbs.add_parser("check", help="read the configuration, and say what a minter would do with it")
    for verb in verbs.choices.values():
        verb.add_argument("--config", type=Path, default=argparse.SUPPRESS, help=about)


def run(args: argparse.Namespace) -> int:
    """Do the verb."""
    from juniperd.app import check_minter, run_minter

    path = args.config or os.environ.get("JUNIPER_MINTER_CONFIG")
    if not path:
        msg = "no minter configuration is named"
        raise UsageError(msg, "add: --config minter.toml")
    if args.minter_verb == "serve":
        return run_minter(Path(path))
    print(check_minter(Path(path)))
    return 0
