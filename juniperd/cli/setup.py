"""``juniper setup``: everything by an issuer's URL, or one tool; shown first, and undone on request."""

from __future__ import annotations

import argparse
import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from juniperd.errors import UsageError, one_line

if TYPE_CHECKING:
    from juniperd.cli.setup_plan import Tool

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
TOOLS = ("aws", "gcloud", "kubectl", "docker", "git", "unit", "completion")
"""What can be set up, each in a module of its own: five tools, the systemd user unit, and completion for the shell."""


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
        raise _unknown(args.what)
    if args.only is not None:
        msg = "--only chooses among what an issuer's URL sets up"
        raise UsageError(
            msg, f"run: juniper setup {args.what}, or: juniper setup https://your-issuer --only {args.only}"
        )
    from juniperd.cli import setup_plan

    wish = setup_plan.Wish(undo=args.undo, project=args.project, host=args.host)
    return setup_plan.run(tool(args.what), wish, diff=args.diff)


def tool(name: str) -> Tool:
    """The module of one of :data:`TOOLS`."""
    return cast("Tool", import_module(f"juniperd.cli.setup_{name}"))


def files_of_tools() -> list[Path]:
    """Every file of the person's that a tool's set-up may have changed."""
    from juniperd import paths
    from juniperd.setup import aws, completion, docker, git, google, units

    home = Path.home()
    return [
        aws.config_file(os.environ, home),
        *google.files_in(paths.config_path()),
        paths.config_path().with_name("kubeconfig"),
        docker.config_file(os.environ, home),
        git.config_file(os.environ, home),
        *(units.folder(os.environ, home) / name for name in units.NAMES),
        *(place.path for place in completion.places(os.environ, home).values()),
    ]


def chosen(only: str | None) -> tuple[str, ...]:
    """The tools of ``--only``, in our order; all of them without it."""
    if only is None:
        return TOOLS
    named = [name.strip() for name in only.split(",")]
    for name in named:
        if name not in TOOLS:
            raise _unknown(name, option="--only ")
    return tuple(name for name in TOOLS if name in named)


def _unknown(name: str, *, option: str = "") -> UsageError:
    from difflib import get_close_matches

    msg = f"nothing to set up is called '{one_line(name, 60)}'"
    close = get_close_matches(name, TOOLS, n=1)
    if close:
        return UsageError(msg, f"did you mean: {option or 'juniper setup '}{close[0]}?")
    if option:
        return UsageError(msg, f"name some of: {','.join(TOOLS)}")
    return UsageError(msg, f"run: juniper setup {'|'.join(TOOLS)}, or: juniper setup https://your-issuer")
