"""``juniper login``: one sign-in for all tools, with a browser on this machine or by a code for any other."""

from __future__ import annotations

import argparse
import os
import sys
import time

from juniperd.cli import connection, desktop, echo, show
from juniperd.cli.connection import Event
from juniperd.cli.sign_in_screen import LONGEST_LINK, SignInScreen
from juniperd.cli.up import ensure_agent
from juniperd.errors import UsageError, one_line

EXAMPLES = "examples:\n  juniper login\n  juniper login --browser\n  juniper login --device --issuer team\n  juniper login --plain\n  juniper login --gitlab"
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
    flow.add_argument(
        "--gitlab",
        action="store_true",
        help="sign in at GitLab instead, for juniper scope suggest and juniper debug --job; kept in memory alone",
    )
    parser.add_argument(
        "--again", action="store_true", help="ask the person again though they have just said no (as on a terminal)"
    )
    parser.add_argument(
        "--plain", action="store_true", help="sentences for a screen reader: nothing is drawn, moved or written over"
    )
    parser.add_argument("--issuer", help="the issuer to sign in for, where several are configured")


def run(args: argparse.Namespace) -> int:
    """Show what the person needs, wait for them, and say who signed in."""
    if args.plain and args.qr:
        msg = "--plain draws nothing, and --qr is a drawing"
        raise UsageError(msg, "leave one of them out")
    ensure_agent()
    if args.gitlab:
        return _at_gitlab(args)
    device = args.device or args.qr
    flow = "browser" if args.browser else "device" if device else None
    # Who types it on a terminal wants it; what runs without one may be a loop.
    again = args.again or sys.stdin.isatty() or sys.stderr.isatty()
    parameters = {"issuer": args.issuer, "flow": flow, "auto": desktop.flow(os.environ), "again": again}
    waiting = SignInScreen(sys.stderr, os.environ, clock=time.time, plain=args.plain, qr=args.qr)
    with echo.off(sys.stderr), waiting as screen:
        for event in connection.ask("login", parameters, timeout=PATIENCE, meanwhile=screen.beat):
            if event.get("event") == "result":
                screen.close()
                _signed_in(event)
            else:
                _show(event, screen)
    return 0


def _at_gitlab(args: argparse.Namespace) -> int:
    """The person's own token at GitLab: advice, which the issuer never sees."""
    waiting = SignInScreen(sys.stderr, os.environ, clock=time.time, plain=args.plain)
    with echo.off(sys.stderr), waiting as screen:
        events = connection.ask("gitlab_login", {"issuer": args.issuer}, timeout=PATIENCE, meanwhile=screen.beat)
        for event in events:
            if event.get("event") == "result":
                screen.close()
                who = show.person(event.get("user"))
                print(f"signed in at GitLab as {who}; in memory only, until juniper logout or juniper lock", flush=True)
            else:
                _show(event, screen)
    return 0


def _show(event: Event, screen: SignInScreen) -> None:
    if event.get("event") == "device_code":
        screen.code(event)
    elif event.get("event") == "browser":
        # Opened once, however many wait for it.
        page = one_line(str(event["url"]), LONGEST_LINK)
        opened = not event.get("joined") and desktop.open_page(page, os.environ)
        screen.link(event, opened=opened)
    elif event.get("event") == "checking":
        screen.checking(event)


def _signed_in(event: Event) -> None:
    print(f"signed in as {show.person(event.get('user'))} until {show.clock_time(event.get('ends_at'))}", flush=True)
    if sys.stderr.isatty():
        print("next: juniper scopes", file=sys.stderr)
