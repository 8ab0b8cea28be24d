"""``juniper setup``: everything by an issuer's URL, or one tool; shown first, and undone on request."""

from __future__ import annotations

import argparse

from juniperd.cli import setup_tools
from juniperd.cli.setup_tools import TOOLS
from juniperd.errors import UsageError

EXAMPLES = """examples:
  juniper setup https://juniper.example.com
  juniper setup https://juniper.example.com --diff
  juniper setup https://juniper.example.com --yes --issuer-host juniper.example.com --only aws,kubectl
  juniper setup https://juniper.example.com --undo
  juniper setup aws --diff
  juniper setup aws
  juniper setup aws --undo
  juniper setup gcloud
  juniper setup kubectl
  juniper setup docker --project shop/billing
  juniper setup git
  juniper setup unit
  juniper setup completion"""


def register(parser: argparse.ArgumentParser) -> None:
    """What to set up, and how careful to be."""
    what = "URL|" + "|".join(TOOLS)
    parser.add_argument(
        "what", metavar=what, nargs="?", help="the issuer's URL (none is needed where a fleet pins one), or one tool"
    )
    parser.add_argument("--diff", action="store_true", help="show what would change and write nothing")
    parser.add_argument("--undo", action="store_true", help="take out what juniper wrote")
    parser.add_argument("--yes", action="store_true", help="do not ask; needs --issuer-host with a URL")
    parser.add_argument("--issuer-host", metavar="H", help="the host you expect the issuer to be")
    parser.add_argument("--only", metavar=",".join(TOOLS), help="with a URL: these tools alone")
    parser.add_argument("--project", metavar="GROUP/PROJECT", help="docker: what a bare registry's name means")
    parser.add_argument("--host", metavar="HOST", help="docker: the registry, where --project is at several")


def run(args: argparse.Namespace) -> int:
    """Set up everything, or the tool that is named."""
    if args.what != "docker" and (args.project is not None or args.host is not None):
        msg = "--project and --host say what a registry's name means"
        raise UsageError(msg, "run: juniper setup docker --project GROUP/PROJECT")
    if args.what is None or "://" in args.what:
        from juniperd.cli import setup_all

        return setup_all.run(args)
    if args.what not in TOOLS:
        raise setup_tools.unknown(args.what)
    if args.only is not None:
        msg = "--only chooses among what an issuer's URL sets up"
        raise UsageError(
            msg, f"run: juniper setup {args.what}, or: juniper setup https://your-issuer --only {args.only}"
        )
    from juniperd.cli import setup_plan

    wish = setup_plan.Wish(undo=args.undo, project=args.project, host=args.host)
    return setup_plan.run(setup_tools.tool(args.what), wish, diff=args.diff)
