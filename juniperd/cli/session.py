"""``juniper session``: debugging sessions, which wake the scopes that sleep, for a while and for a reason."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping

from juniperd.cli import checkout, connection, kindly, show
from juniperd.errors import UsageError, one_line

EXAMPLES = """examples:
  eval "$(juniper session open shop/billing --env staging --for 1h --reason 'invoices stuck')"
  juniper session extend 30m
  juniper session list
  juniper session close"""
USUAL = "1h"
_DURATION = re.compile(r"([1-9][0-9]{0,4})([smh])")
_UNITS = {"s": 1, "m": 60, "h": 3600}

Shown = Mapping[str, object]


def register(parser: argparse.ArgumentParser) -> None:
    """One verb each; what is about one session takes its id, or means the shell's own, or the only one."""
    verbs = parser.add_subparsers(dest="session_verb", required=True, metavar="VERB")
    opening = verbs.add_parser("open", help="open one and print the line that puts a shell into it")
    opening.add_argument("project", help="the project's full path, as shop/billing")
    opening.add_argument("--env", required=True, metavar="NAME", help="the environment to debug")
    opening.add_argument("--ref", help="narrow to a ref, as main, branch:main or tag:v1")
    opening.add_argument(
        "--scope", action="append", default=[], metavar="NAME", help="this scope alone; may be repeated"
    )
    opening.add_argument(
        "--for", dest="length", default=USUAL, metavar="TIME", help="30m, 1h … (default 1h, 12h at most)"
    )
    opening.add_argument("--reason", help="why, for the trail")
    extending = verbs.add_parser("extend", help="move its end")
    extending.add_argument("length", metavar="TIME", help="how much later, as 30m")
    closing = verbs.add_parser("close", help="end it, with every credential of it")
    for verb in (extending, closing):
        verb.add_argument(
            "session", nargs="?", metavar="ID", help="which one (default: the shell's own, or the only one)"
        )
    listing = verbs.add_parser("list", help="your open sessions, on all your laptops")
    listing.add_argument("--json", action="store_true", help="as JSON")
    for verb in (opening, closing, listing):
        verb.add_argument("--issuer", help="the issuer, where several are configured")


def run(args: argparse.Namespace) -> int:
    """Do the verb."""
    return {"open": _open, "extend": _extend, "close": _close, "list": _list}[args.session_verb](args)


def _open(args: argparse.Namespace) -> int:
    for word, value in (("PROJECT", args.project), ("--env", args.env)):
        if not value:
            msg = f"{word} is empty"
            raise UsageError(msg, "write: juniper session open shop/billing --env staging")
    asked = {
        "project": args.project,
        "environment": args.env,
        "ref": checkout.as_policy(args.ref),
        "scopes": args.scope,
        "seconds": seconds(args.length),
        "reason": args.reason,
        "issuer": args.issuer,
    }
    try:
        opened = connection.result("session_open", asked, timeout=60.0)
    except connection.AgentSaid:
        _check_names(args)
        raise
    print(f"session {opened['id']}: {_about(opened)}", file=sys.stderr)
    for row in _rows(opened.get("refused")):
        print(one_line(f"left out: {row.get('scope')} ({row.get('text')})"), file=sys.stderr)
    print(f"export JUNIPER_SESSION_SOCKET={shlex.quote(str(opened['socket']))}")
    return 0


def _check_names(args: argparse.Namespace) -> None:
    """Whether project and environment are such as the person may see, once a no was heard; of a pattern the issuer knows."""
    rows = kindly.seen(args.issuer)
    again, env = "run: juniper session open", one_line(args.env, 100)
    kindly.check("project", args.project, [str(r.get("project")) for r in rows], f"{again} {{}} --env {env}")
    known = [str(row.get("environment")) for row in rows if row.get("project") == args.project]
    if not any(mark in name for name in known for mark in "*?["):
        kindly.check("environment", args.env, known, f"{again} {args.project} --env {{}}", of=args.project)


def _extend(args: argparse.Namespace) -> int:
    extended = connection.result("session_extend", {"session": _which(args), "seconds": seconds(args.length)})
    print(f"session {extended['id']}: until {show.clock_time(extended['ends_at'])}")
    return 0


def _close(args: argparse.Namespace) -> int:
    closed = connection.result("session_close", {"session": _which(args), "issuer": args.issuer})
    print(f"session {closed['id']}: closed")
    return 0


def _list(args: argparse.Namespace) -> int:
    found = list(_rows(connection.result("session_list", {"issuer": args.issuer}).get("sessions")))
    if args.json:
        show.as_json(found)
        return 0
    for row in found:
        where = "" if row.get("socket") else "; opened elsewhere"
        print(f"{row.get('id')}  {_about(row)}{where}")
    if not found:
        print("no session is open")
    return 0


def _about(session: Shown) -> str:
    scopes = session.get("scopes")
    names = ", ".join(map(str, scopes)) if isinstance(scopes, list) else ""
    place = f"{session.get('project')} {session.get('environment')}"
    place += f" {session['ref']}" if session.get("ref") else ""
    return one_line(f"{place} until {show.clock_time(session.get('ends_at'))}; scopes: {names}", 1000)


def _which(args: argparse.Namespace) -> str | None:
    """The session named, else the one whose socket this shell has."""
    named: str | None = args.session or os.environ.get("JUNIPER_SESSION_SOCKET")
    return named or None


def _rows(value: object) -> Iterator[Shown]:
    yield from (row for row in value if isinstance(row, Mapping)) if isinstance(value, list) else ()


def seconds(text: str) -> int:
    """A length of time such as 90s, 30m or 1h, in seconds."""
    found = _DURATION.fullmatch(text)
    if found is None:
        msg = f"'{text}' is not a length of time"
        raise UsageError(msg, "write it as 90s, 30m or 1h")
    return int(found[1]) * _UNITS[found[2]]
