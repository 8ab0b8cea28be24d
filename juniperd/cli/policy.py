"""``juniper policy``: check, lint and test the issuer's policy files before anybody merges them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from juniperd.cli import show
from juniperd.cli.issuer import config_path, takes_config
from juniperd.errors import UsageError

if TYPE_CHECKING:
    from juniperd.issuer.policy_commands import Files

EXAMPLES = """examples:
  juniper policy check policy/ relying_parties/
  juniper policy check policy/ relying_parties/ --against main-policy/
  juniper policy check policy/ relying_parties/ --against main-policy/ --people --markdown
  juniper policy check --config /etc/juniper/issuer.toml
  juniper policy lint policy/ relying_parties/ --jobs jobs.json --strict
  juniper policy test cases.toml policy/ relying_parties/
  juniper policy schema >juniper-policy.schema.json"""


def register(parser: argparse.ArgumentParser) -> None:
    """Check, lint and test the files, or tell an editor how to."""
    verbs = parser.add_subparsers(dest="policy_verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="read the files as the issuer would, and say what they allow too widely")
    _takes_files(check)
    check.add_argument("--against", type=Path, metavar="OLD", help="an older policy: print who gains what")
    about = "with --against: name the members who gain; asks GitLab with issuer.toml's reader token"
    check.add_argument("--people", action="store_true", help=about)
    form = check.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", help="for programs")
    form.add_argument("--markdown", action="store_const", const="markdown", dest="form", help="for a merge request")
    lint = verbs.add_parser("lint", help="what is allowed and worth a second look, with code, place and cure")
    _takes_files(lint)
    lint.add_argument("--jobs", type=Path, metavar="FILE", help="the jobs there are, as JSON: what no job uses is told")
    lint.add_argument("--strict", action="store_true", help="any finding is an exit status of 1")
    lint.add_argument("--json", action="store_true", help="for programs")
    test = verbs.add_parser("test", help="judge cases of a file as the issuer would, without GitLab")
    test.add_argument("cases", type=Path, metavar="CASES", help="the cases, as TOML")
    _takes_files(test)
    test.add_argument("--json", action="store_true", help="for programs")
    schema = verbs.add_parser("schema", help="the files' keys as a JSON Schema, for editors")
    schema.add_argument("--markdown", action="store_true", help="as tables for people")


def _takes_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "policy", type=Path, nargs="?", help="a policy file or folder (default: what issuer.toml names)"
    )
    parser.add_argument("relying_parties", type=Path, nargs="?", help="the relying parties' file or folder")
    takes_config(parser)


def run(args: argparse.Namespace) -> int:
    """What the verb ends in: 0 only for files the issuer would take."""
    return _VERBS[args.policy_verb](args)


def _check(args: argparse.Namespace) -> int:
    from juniperd.issuer import policy_commands

    if args.people and args.against is None:
        msg = "--people names those who gain by a change, and there is no older policy"
        raise UsageError(msg, "add: --against OLD")
    people = config_path(args.config) if args.people else None
    return _told(policy_commands.check(_files(args), against=args.against, people=people, form=args.form or "text"))


def _lint(args: argparse.Namespace) -> int:
    from juniperd.issuer import policy_commands

    return _told(policy_commands.lint_files(_files(args), jobs=args.jobs, strict=args.strict, as_json=args.json))


def _test(args: argparse.Namespace) -> int:
    from juniperd.issuer import policy_commands

    return _told(policy_commands.rehearse(_files(args), args.cases, as_json=args.json))


def _schema(args: argparse.Namespace) -> int:
    from juniperd.issuer import policy_commands

    return _told(policy_commands.schema(markdown=args.markdown))


_VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "check": _check,
    "lint": _lint,
    "test": _test,
    "schema": _schema,
}


def _files(args: argparse.Namespace) -> Callable[[], Files]:
    """The files that were named, or those that ``issuer.toml`` names; read within the verb, which tells its errors."""
    from juniperd.issuer import policy_commands

    if args.policy is not None:
        return lambda: policy_commands.Files(args.policy, args.relying_parties)
    return lambda: policy_commands.configured(config_path(args.config))


def _told(found: tuple[int, str]) -> int:
    """A report goes to standard output also where its verdict is 1; what could not be made is an error."""
    status, text = found
    if status > 1:
        return show.outcome("juniper policy", found)
    print(text)
    return status
