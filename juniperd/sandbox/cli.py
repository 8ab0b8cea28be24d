"""`juniper sandbox …`: arguments in, text out."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from juniperd.sandbox.drills import SOURCES, drill_help

if TYPE_CHECKING:
    from juniperd.sandbox.folder import Folder

_ABOUT: Final = """\
a whole small company on loopback: sign-in, GitLab with registry and Git, AWS, two clusters, an API, an issuer with its
minter, and an agent

examples:
  juniper sandbox up --dir /tmp/shop
  eval "$(juniper sandbox env --dir /tmp/shop)"
  juniper login --device
  aws sts get-caller-identity
  kubectl -n billing get pods
  git clone "$BILLING_CODE"
  juniper sandbox idp --dir /tmp/shop --as maintainer
  juniper sandbox gitlab --dir /tmp/shop remove-member developer shop/billing
  juniper sandbox job archive-invoices --dir /tmp/shop --user maintainer -- sh -c 'echo "$CI_JOB_ID"'
  juniper sandbox down --dir /tmp/shop"""


_DRILLED: Final = {
    "gitlab": "change GitLab, or slow or break it",
    "sts": "slow or break AWS's STS",
    "kubernetes": "slow or break the cluster staging-eu",
    "api": "slow or break billing's internal API",
    "google": "slow or break Google Cloud",
}


def register(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `juniper sandbox`."""
    parser.description = _ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    verbs = parser.add_subparsers(dest="sandbox_verb", required=True, metavar="VERB")
    up = _verb(verbs, "up", "start a sandbox and wait until it answers")
    up.add_argument("--json", action="store_true", help="print what runs where as JSON")
    up.add_argument("--link-page", action="store_true", help="people link themselves on the issuer's own page")
    up.add_argument("--without", default="", help=argparse.SUPPRESS)
    _verb(verbs, "down", "end it and remove its folder; may be repeated")
    _verb(verbs, "env", "print export lines for a shell")
    _register_idp(_verb(verbs, "idp", "say how sign-ins are answered"))
    _register_job(_verb(verbs, "job", "run what stands behind -- as a job of GitLab's"))
    for name, about in _DRILLED.items():
        drill = _verb(verbs, name, about)
        drill.epilog, drill.formatter_class = drill_help(name), argparse.RawDescriptionHelpFormatter
        drill.add_argument("words", nargs="+", metavar="WORD", help="what to do, as below")


def _verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=about, description=about)
    parser.add_argument("--dir", required=True, metavar="D", help="the sandbox's folder")
    return parser


def _register_idp(parser: argparse.ArgumentParser) -> None:
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--as", dest="person", metavar="ROLE", help="approve every sign-in as this person")
    mode.add_argument("--ask", action="store_true", help="wait for a click on the sign-in page")
    mode.add_argument("--deny", action="store_true", help="deny every sign-in")
    mode.add_argument("--disable", metavar="ROLE", help="deactivate this person's account")
    mode.add_argument("--enable", metavar="ROLE", help="activate it again")
    mode.add_argument("--rotate-key", action="store_true", help="sign ID tokens with a new key")
    mode.add_argument("--slow", metavar="MS", help="answer late")
    mode.add_argument("--break", dest="status", metavar="STATUS", help="answer with this status")
    mode.add_argument("--heal", action="store_true", help="end slow and break")


def _register_job(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("name", nargs="?", metavar="NAME", help="the job, as the project's CI configuration names it")
    what.add_argument("--cancel", metavar="ID", help="cancel a job that runs")
    parser.add_argument("--project", default="shop/billing", metavar="P", help="the project (shop/billing)")
    parser.add_argument("--ref", default="", metavar="REF", help="branch:NAME or tag:NAME (the default branch)")
    parser.add_argument("--user", default="maintainer", metavar="LOGIN", help="who starts the pipeline (maintainer)")
    parser.add_argument("--source", default="push", choices=SOURCES, help="what starts it (push)")
    parser.add_argument("--fork", default="", metavar="P", help="the project that a merge request comes from")


def run(args: argparse.Namespace) -> int:
    """Do the verb; the exit status."""
    from juniperd.sandbox.folder import Folder, SandboxError

    try:
        return _run(args, Folder.at(args.dir))
    except SandboxError as problem:
        print(f"juniper: {problem}", file=sys.stderr)
        return 1
    except OSError as problem:
        print(f"juniper: {problem.filename}: {problem.strerror}; choose another folder with --dir", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace, folder: Folder) -> int:
    from juniperd.sandbox import commands

    if args.sandbox_verb == "up":
        note = commands.up(folder, without=args.without, link_page=args.link_page)
        print(note.to_json() if args.json else _welcome(folder))
    elif args.sandbox_verb == "down":
        ended = commands.down(folder)
        print(f"the sandbox in {folder.root} is gone" if ended else f"no sandbox in {folder.root}")
    elif args.sandbox_verb == "job":
        return _job(args, folder)
    elif args.sandbox_verb == "env":
        print("\n".join(commands.env_lines(folder)))
    else:
        words = _idp_words(args) if args.sandbox_verb == "idp" else list(args.words)
        print(commands.drill(folder, [args.sandbox_verb, *words]))
    return 0


def _job(args: argparse.Namespace, folder: Folder) -> int:
    from juniperd.sandbox import job
    from juniperd.sandbox.ci_jobs import Wish

    if args.cancel is not None:
        print(job.cancel(folder, args.cancel))
        return 0
    wish = Wish(args.name, args.user, args.project, args.ref, args.source, args.fork)
    return job.run(folder, wish, args.command)


def _idp_words(args: argparse.Namespace) -> list[str]:
    named = {"as": args.person, "disable": args.disable, "enable": args.enable, "slow": args.slow, "break": args.status}
    for verb, value in named.items():
        if value is not None:
            return [verb, value]
    flags = {"ask": args.ask, "deny": args.deny, "rotate-key": args.rotate_key, "heal": args.heal}
    return [verb for verb, said in flags.items() if said]


def _welcome(folder: Folder) -> str:
    return f"""the sandbox is up. Next:
  eval "$(juniper sandbox env --dir {folder.root})"
  juniper login --device
  aws sts get-caller-identity
and in the end:
  juniper sandbox down --dir {folder.root}"""


def main() -> int:
    """`python -m juniperd.sandbox.cli …`."""
    parser = argparse.ArgumentParser(prog="juniper sandbox")
    register(parser)
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args = parser.parse_args(sys.argv[1:at])
    args.command = sys.argv[at + 1 :]
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
