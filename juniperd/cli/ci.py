"""``juniper ci``: one command in a job of GitLab's, whose tools hold what policy lets the job hold.

An agent of the job's own serves it, started here and ended with the command. Nothing of it is in the command's
environment but where the agent is; the ID token that GitLab put there is taken out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from juniperd.cli import child, job_agent, kindly
from juniperd.errors import GrantRefused, UsageError, one_line
from juniperd.identity import gitlab_ci
from juniperd.setup import session
from juniperd.setup.session import Held

EXAMPLES = """examples:
  juniper ci -- ./deploy.sh
  juniper ci --scope invoice-archive-writer -- aws s3 cp invoices.json s3://archive/
  juniper ci --end                       the last line of the job: its folder goes

in .gitlab-ci.yml:
  deploy:
    id_tokens: {JUNIPER_ID_TOKEN: {aud: https://juniper.example.com}}
    script: [juniper ci -- ./deploy.sh]"""
TAKES_COMMAND = True


def register(parser: argparse.ArgumentParser) -> None:
    """Which scopes; what stands behind ``--`` is the command."""
    parser.add_argument(
        "--scope", action="append", default=[], metavar="NAME", help="this scope alone; may be repeated"
    )
    parser.add_argument("--issuer", metavar="URL", help="the issuer, where its URL is not the token's audience")
    parser.add_argument("--end", action="store_true", help="take the job's folder away, agents that still run with it")


def run(args: argparse.Namespace) -> int:
    """The command's status; 2 where none is named, 1 where the job holds nothing."""
    if args.end:
        job_agent.end(os.environ)
        return 0
    if not args.command:
        msg = "no command is named"
        raise UsageError(msg, "write: juniper ci -- COMMAND")
    if job_agent.is_inside(os.environ):
        msg = "this command is inside juniper ci already"
        raise UsageError(msg, f"run {one_line(args.command[0], 100)} by itself")
    token = gitlab_ci.found(os.environ)
    with job_agent.running(token, args.issuer or token.issuer, os.environ) as agent:
        os.environ |= agent.variables
        held = child.with_authorities(_held(args.scope, sandbox=agent.sandbox))
        bin_folder = Path(sys.argv[0]).resolve().parent
        kept = {n: v for n, v in os.environ.items() if n not in {gitlab_ci.VARIABLE, session.SOCKET}}
        return child.run(args.command, session.furnished(held, agent.folder, "", kept, bin_folder))


def _held(wanted: Sequence[str], *, sandbox: bool) -> Held:
    """What the job holds; what it does not is said, and a scope that was asked for by name is an error."""
    rows = kindly.rows(None)
    held = [str(row["name"]) for row in rows if row.get("held")]
    refused = {str(row.get("name")): one_line(str(row.get("reason")), 300) for row in rows if not row.get("held")}
    for name in wanted:
        if name in refused:
            raise _refused(name, refused[name])
        if name not in held:
            msg = f"the job can see no scope '{one_line(name, 100)}'"
            raise UsageError(msg, "mend its name, or ask whoever owns the policy")
    if not wanted:
        _tell(refused)
    if not held:
        msg = "the job holds no scope"
        cure = "ask whoever owns the policy for one of this project with the origin pipeline"
        raise GrantRefused(msg, "see above what each is for, and what cures it" if refused else cure)
    chosen = list(wanted) or held
    child.say(f"scopes: {', '.join(chosen)}")
    return session.held(rows, chosen, issuer="", sandbox=sandbox)


def _tell(refused: Mapping[str, str]) -> None:
    """What is left out, in a line for each reason: of one kind of job most are left out for the same."""
    for reason in dict.fromkeys(refused.values()):
        names = ", ".join(one_line(name, 100) for name, why in refused.items() if why == reason)
        child.say(f"left out: {names} ({reason})")


def _refused(name: str, reason: str) -> GrantRefused:
    why, _, cure = reason.rpartition("; ")
    return GrantRefused(f"{name}: {why or reason}", cure if why else "ask whoever owns the policy")
