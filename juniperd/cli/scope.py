"""``juniper scope``: what a policy could say, from what a project's jobs ask for, and those jobs as evidence for a lint."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from juniperd import ci_file, config, paths, suggestion
from juniperd.ci_file import ROLE_ARN
from juniperd.cli import checkout, dry_run, kindly, show
from juniperd.cli.connection import Event
from juniperd.errors import UsageError, one_line
from juniperd.suggestion import Source

EXAMPLES = """examples:
  juniper login --gitlab
  juniper scope suggest --from-ci shop/billing
  juniper scope suggest --from-ci shop/billing --ref fix-late-fee --json
  juniper scope jobs --from-ci shop/billing > jobs.json && juniper policy lint --jobs jobs.json"""


def register(parser: argparse.ArgumentParser) -> None:
    """Two verbs over the same dry run."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    suggest = _verb(verbs, "suggest", "propose policy entries as TOML, from the jobs that a push of yours would make")
    suggest.add_argument("--json", action="store_true", help='as JSON: {"scopes": [{"name", "job", "missing", …}]}')
    _verb(verbs, "jobs", "the jobs that a push of yours would make, as juniper policy lint --jobs reads them")


def _verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=about, description=about, allow_abbrev=False)
    verb.add_argument("--from-ci", required=True, metavar="PROJECT", help="the project's full path")
    verb.add_argument("--ref", metavar="NAME", help="the branch that is pushed to (default: the project's own)")
    verb.add_argument("--issuer", help="the issuer, where several are configured")
    return verb


def run(args: argparse.Namespace) -> int:
    """Print them; 1 where GitLab would make this person no pipeline there."""
    answer = dry_run.lint(args.from_ci, _branch(args.ref), args.issuer)
    source = _source(answer)
    if args.verb == "jobs":
        show.as_json(suggestion.evidence(ci_file.jobs(answer), source))
        return 0
    found = suggestion.proposals(ci_file.jobs(answer), source, _parties(answer.get("issuer")))
    if args.json:
        show.as_json({"scopes": [one.to_json(source) for one in found]})
    else:
        print(suggestion.toml(found, source), end="")
    return 0


def _branch(ref: str | None) -> str | None:
    """A push is to a branch; it may be written as policy writes it."""
    if ref is not None and ref.startswith("tag:"):
        msg = "jobs are proposed from a branch, and this is a tag"
        raise UsageError(msg, "write --ref BRANCH")
    return None if ref is None else checkout.name_of(ref)


def _source(answer: Event) -> Source:
    entry = config.load(paths.config_path()).issuer(str(answer.get("issuer")))
    number = answer.get("project_id")
    ref = f"branch:{one_line(str(answer.get('ref')), 200)}"
    return Source(str(answer.get("project")), number if isinstance(number, int) else 0, ref, entry.url)


def _parties(issuer: object) -> Mapping[str, str]:
    """The relying party of each AWS account that the person sees a scope of; nobody need be signed in."""
    found: dict[str, str] = {}
    for row in kindly.seen(issuer):
        targets = row.get("targets")
        for target in targets if isinstance(targets, list) else ():
            role = ROLE_ARN.fullmatch(str(target.get("role_arn") or "")) if isinstance(target, Mapping) else None
            if role is not None:
                found[role["account"]] = str(target.get("relying_party"))
    return found
