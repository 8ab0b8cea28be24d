"""``juniper token``: a token for an API on standard output, or in a file that is kept fresh while this runs."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from juniperd.cli import connection, kindly
from juniperd.errors import AgentMissing, SessionOver
from juniperd.paths import socket_path

EXAMPLES = """examples:
  curl -H @<(juniper token --header --audience billing-api) https://billing.staging.example.com/
  juniper token --audience billing-api --file ~/.cache/billing.token"""

HELPER = "juniper-token"
PREFIX = "juniper token: "
TIMEOUT = 10.0
"""Seconds; the agent gives its own answer sooner."""


def register(parser: argparse.ArgumentParser) -> None:
    """Whom the token is for, and where it goes."""
    parser.add_argument("--audience", required=True, metavar="NAME", help="the relying party the token is for")
    parser.add_argument("--scope", metavar="NAME", help="the scope, where several reach that audience")
    parser.add_argument("--issuer", metavar="NAME", help="the issuer, where several are configured")
    parser.add_argument("--header", action="store_true", help="as a header, for curl -H @FILE")
    about = "keep the token in this file while this runs, and remove it at the end"
    parser.add_argument("--file", type=Path, metavar="PATH", help=about)


def run(args: argparse.Namespace) -> int:
    """Print the token, or keep the file; 2 for a name that is none among what the person may see."""
    try:
        return _run(args)
    except connection.AgentSaid:
        _check_names(args)
        raise


def _run(args: argparse.Namespace) -> int:
    words = [HELPER, "--audience", args.audience]
    for option, value in (("--scope", args.scope), ("--issuer", args.issuer)):
        words += [option, value] if value is not None else []
    if args.file is not None:
        from juniperd.cli import token_file

        return token_file.keep(args.file, lambda: ask([*words, "--timed"], start=False), header=args.header)
    sys.stdout.buffer.write(ask([*words, "--header"] if args.header else words))
    sys.stdout.buffer.flush()
    return 0


def _check_names(args: argparse.Namespace) -> None:
    """Asked after a no alone, so that a token costs no look at the catalogue."""
    rows = kindly.seen(args.issuer)
    if args.scope is not None:
        kindly.check("scope", args.scope, [str(row.get("name")) for row in rows], "write --scope {}")
    kindly.check("API", args.audience, list(kindly.audiences(rows)), "write --audience {}")


def ask(words: list[str], *, start: bool = True) -> bytes:
    """The agent's answer: of the session this shell is in, and of nobody else where that is over.

    Without a session and settings of one's own, an agent that is not there is started, as the helpers do it.
    """
    session = os.environ.get("JUNIPER_SESSION_SOCKET")
    try:
        return _ask(Path(session) if session else socket_path(), words)
    except AgentMissing:
        if session:
            msg = "the session has ended"
            raise SessionOver(msg, "run: juniper session open") from None
        if not start or os.environ.get("JUNIPER_SOCKET") or os.environ.get("JUNIPER_CONFIG"):
            raise
    from juniperd.cli.up import ensure_agent

    ensure_agent()
    return _ask(socket_path(), words)


def _ask(path: Path, words: list[str]) -> bytes:
    try:
        return connection.as_tool(path, words, timeout=TIMEOUT)
    except connection.AgentSaid as said:
        text = said.message.removeprefix(PREFIX).removeprefix(f"{words[0]}: ")
        raise connection.AgentSaid(text, said.exit_status) from None
