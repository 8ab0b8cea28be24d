"""``juniper sandbox``: hands over to the sandbox's own command line."""

from __future__ import annotations

import argparse

from juniperd.sandbox import cli

EXAMPLES = None  # the sandbox brings its own
TAKES_COMMAND = True
"""`juniper sandbox job` does."""


def register(parser: argparse.ArgumentParser) -> None:
    """The sandbox's verbs."""
    about = parser.description
    cli.register(parser)
    parser.description = parser.description or about


def run(args: argparse.Namespace) -> int:
    """Do the verb."""
    return cli.run(args)
