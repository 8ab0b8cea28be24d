"""``juniper issuer``: run the team's issuer, and steer the one that runs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from juniperd.errors import ConfigError

EXAMPLES = """examples:
  juniper issuer serve --config /etc/juniper/issuer.toml"""


def register(parser: argparse.ArgumentParser) -> None:
    """The issuer's verbs."""
    parser.add_argument("--config", type=Path, help="issuer.toml (default: JUNIPER_ISSUER_CONFIG)")
    verbs = parser.add_subparsers(dest="issuer_verb", required=True, metavar="VERB")
    verbs.add_parser("serve", help="run the issuer in the foreground")


def run(args: argparse.Namespace) -> int:
    """Do the verb."""
    from juniperd.issuer import app

    return app.run(config_path(args.config))


def config_path(named: Path | None) -> Path:
    """The issuer's configuration, as named or from the environment."""
    path = named or os.environ.get("JUNIPER_ISSUER_CONFIG")
    if not path:
        msg = "no issuer configuration is named"
        raise ConfigError(msg, "add: --config issuer.toml")
    return Path(path)
