"""``juniper login``: one sign-in for all tools, with a browser on this machine or by a code for any other."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TextIO

from juniperd.cli import connection, desktop, show
from juniperd.cli.connection import Event
from juniperd.cli.up import ensure_agent
from juniperd.errors import one_line

EXAMPLES = "examples:\n  juniper login\n  juniper login --browser\n  juniper login --device --issuer team"
PATIENCE = 1900.0
"""Seconds: longer than any provider lets a code live; the agent ends the flow itself."""


def register(parser: argparse.ArgumentParser) -> None:
    """Flow and issuer; both have a default."""
    flow = parser.add_mutually_exclusive_group()
    flow.add_argument("--browser", action="store_true", help="sign in with a browser on this machine")
    flow.add_argument("--device", action="store_true", help="use the device flow (code and link)")
    flow.add_argument(
        "--qr", action="store_true", help="the same, with the link as a QR code also where no terminal is"
    )
    parser.add_argument(
        "--again", action="store_true", help="ask the person again though they have just said no (as on a terminal)"
    )
    parser.add_argument("--issuer", help="the issuer to sign in for, where several are configured")


def run(args: argparse.Namespace) -> int:
    """Show what the person needs, wait for them, and say who signed in."""
    ensure_agent()
    device = args.device or args.qr
    flow = "browser" if args.browser else "device" if device else None
    # Who types it on a terminal wants it; what runs without one may be a loop.
    again = args.again or sys.stdin.isatty() or sys.stderr.isatty()
    parameters = {"issuer": args.issuer, "flow": flow, "auto": desktop.flow(os.environ), "again": again}
    for event in connection.ask("login", parameters, timeout=PATIENCE):
        if event.get("event") == "device_code":
            show_code(event, sys.stderr, qr=args.qr)
        elif event.get("event") == "browser":
            show_link(event, sys.stderr)
        elif event.get("event") == "checking":
            print(one_line(str(event.get("text"))), file=sys.stderr, flush=True)
        elif event.get("event") == "result":
            print(f"signed in as {show.person(event.get('user'))} until {show.clock_time(event.get('ends_at'))}")
    return 0


def show_link(event: Event, out: TextIO) -> None:
    """Who asks and the link, which is opened once however many wait for it; it is always shown."""
    link = one_line(str(event["url"]), 4000)
    print(one_line(f"{event.get('app')} asks you to sign in at {event.get('host')}"), file=out)
    print(f"  open   {link}", file=out)
    opened = not event.get("joined") and desktop.open_page(link, os.environ)
    print(
        "opened in your browser" if opened else "open it in a browser on this machine, for it comes back here", file=out
    )
    _wait(event, out)


def show_code(event: Event, out: TextIO, *, qr: bool = False) -> None:
    """Who asks, the code, the link and, on a terminal, the link as a QR code; the code is always shown to compare."""
    link = str(event.get("verification_uri_complete") or event["verification_uri"])
    print(one_line(f"{event.get('app')} asks you to sign in at {event.get('host')}"), file=out)
    print(f"  open   {one_line(link, 2000)}", file=out)
    print(f"  code   {one_line(str(event['user_code']))}   (compare it before you approve)", file=out)
    if qr or out.isatty():
        import segno

        segno.make(link, error="l").terminal(out=out, compact=True)
    _wait(event, out)


def _wait(event: Event, out: TextIO) -> None:
    minutes = float(str(event.get("expires_in") or 0)) / 60
    print(f"waiting for you, {minutes:.0f} min at most; Ctrl-C ends it", file=out, flush=True)
