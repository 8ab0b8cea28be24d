"""``juniper parity``: what a job of yours would hold of a scope, and what your laptop holds, claim by claim."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from juniperd.cli import checkout, connection, dry_run, kindly, show
from juniperd.errors import GrantRefused, UsageError, one_line

EXAMPLES = """examples:
  juniper parity invoice-archive-writer
  juniper parity invoice-archive-writer --job deploy:staging --ref main
  juniper parity review-logs --environment review/42 --json"""
_WIDEST, _ALONE = 48, 96
"""Characters of a claim's value in the table, where two stand in a line and where one does; --json has all of it."""
_OF_JOBS = "a job's own: a laptop has none, and none is made up"
"""What the issuer says of a claim that exists in jobs alone: one line tells them all."""

Shown = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Job:
    """Which job is meant: where it runs, or why GitLab runs none of that name for this person."""

    environment: str | None = None
    ref: str | None = None
    refused: GrantRefused | None = None


def register(parser: argparse.ArgumentParser) -> None:
    """Which scope, and which job it is held against."""
    parser.add_argument("scope", help="a scope's name, or ISSUER/SCOPE")
    parser.add_argument(
        "--job", metavar="NAME", help="the job, as the CI configuration names it (default: any that this scope takes)"
    )
    parser.add_argument("--ref", metavar="NAME", help="the ref that the job runs on, as main, branch:main or tag:v1")
    parser.add_argument("--environment", metavar="NAME", help="the environment, where the scope's is a pattern")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.epilog = f"{parser.epilog}\n\nexit status 0 where the laptop is within the job, 1 where it is not"


def run(args: argparse.Namespace) -> int:
    """Compare; 0 where the laptop holds nothing that the job would not, 1 where it does, 2 where nothing is chosen."""
    job = _Job(args.environment, checkout.as_policy(args.ref)) if args.job is None else _of_job(args)
    asked = {"scope": args.scope, "environment": args.environment, "job_environment": job.environment}
    answer = dict(connection.result("parity", asked | {"job_ref": job.ref}))
    answer.pop("event", None)
    if "rows" not in answer:
        _known(args.scope, answer)
    elif job.refused is not None:
        answer |= _without_job(answer, job.refused)
    elif _is_unchosen(laptop := _side_of(answer, "laptop")):
        unchosen, _, cure = str(laptop.get("text")).rpartition("; ")
        raise UsageError(unchosen, cure)
    if args.json:
        show.as_json(answer)
    else:
        print("\n".join(_lines(args.scope, args.job, answer)))
    return 0 if _is_within(answer) else 1


def _of_job(args: argparse.Namespace) -> _Job:
    """The job, as GitLab would make it for this person.

    Where the scope names no ref, and nobody chose one, it is the same job on a branch of the person's own: what runs on a
    branch that others review they have not written alone.
    """
    issuer, _slash, name = args.scope.rpartition("/")
    rows = kindly.rows(issuer or None)
    if not rows:
        # Who sees no scope hears an id, as without a job.
        return _Job()
    row = next((row for row in rows if row.get("name") == name), None)
    if row is None:
        names = [str(one.get("name")) for one in rows]
        msg = f"you can see no scope '{one_line(args.scope, 100)}'"
        raise UsageError(msg, kindly.guess_scope(args.scope, names, "run: juniper parity {}", "run: juniper scopes"))
    wanted = checkout.as_policy(args.ref)
    answer = dry_run.asked(str(row["project"]), None if wanted is None else checkout.name_of(wanted), issuer or None)
    if (no := dry_run.refusal(answer)) is not None:
        return _Job(ref=wanted, refused=no)
    linted = f"branch:{answer.get('ref')}" if row.get("ref") is not None else None
    return _Job(dry_run.job(args.job, answer).environment, wanted or linted)


def _without_job(answer: Shown, refused: GrantRefused) -> dict[str, object]:
    """The comparison where GitLab makes this person no such pipeline; of a laptop that holds something it says nothing.

    On another branch the job might run, so that a laptop which holds the scope need not be wider than it; and one that
    holds nothing only because nothing is chosen may hold it where something is.
    """
    laptop = _side_of(answer, "laptop")
    if laptop.get("holds") is not False or _is_unchosen(laptop):
        raise refused
    nothing = {"holds": False, "text": refused.message, "reason": "gitlab_pipeline", "source": None}
    verdict = "neither holds anything: the laptop is within the job"
    return {"job": nothing, "rows": [], "within": True, "verdict": verdict}


def _known(scope: str, answer: Shown) -> None:
    """Nothing is told of a name: who sees other scopes hears that it is none of theirs."""
    names = [str(row.get("name")) for row in kindly.seen(answer.get("issuer"))]
    if names and scope.rpartition("/")[2] not in names:
        msg = f"you can see no scope '{one_line(scope, 100)}' ({one_line(str(answer.get('id')), 64)})"
        raise UsageError(msg, kindly.guess_scope(scope, names, "run: juniper parity {}", "run: juniper scopes"))


def _is_within(answer: Shown) -> bool:
    """What the issuer says; with an id alone it says that the laptop holds nothing, or it says nothing."""
    nothing = _side_of(answer, "laptop").get("holds") is False
    return answer.get("within") is True and ("rows" in answer or nothing)


def _lines(scope: str, job: str | None, answer: Shown) -> Iterator[str]:
    if "rows" not in answer:
        yield f"{scope}: refused; ask who runs the issuer, with this id: {answer.get('id')}"
        if _is_within(answer):
            yield "the laptop holds nothing, and is within the job"
        return
    gitlab = one_line(str(answer.get("gitlab")), 40)
    yield f"{scope}: {one_line(_chosen(job, answer), 400)} (GitLab {gitlab}), and your laptop"
    for name in ("job", "laptop"):
        yield f"  {name:<7} {_side(_side_of(answer, name))}"
    yield from _table(answer)
    good = _is_within(answer)
    yield show.coloured(one_line(str(answer.get("verdict")), 300), "green" if good else "red")


def _chosen(job: str | None, answer: Shown) -> str:
    """Which job it is that the laptop is held against."""
    if _is_unchosen(_side_of(answer, "job")):
        return "no job is chosen"
    what = "a job of yours" if job is None else f"the job {one_line(job, 100)} as you may write it"
    environment = answer.get("environment")
    place = "without an environment" if environment is None else f"environment {environment}"
    return f"{what} on {answer.get('ref') or 'a new branch'}, {place}"


def _side_of(answer: Shown, who: str) -> Shown:
    """What the issuer says of one of the two; nothing where it says nothing that can be read."""
    side = answer.get(who)
    return side if isinstance(side, Mapping) else {}


def _is_unchosen(side: Shown) -> bool:
    return str(side.get("reason")).endswith("_unselected")


def _side(side: Shown) -> str:
    if side.get("holds"):
        by = f", started by {one_line(str(side['source']), 40)}" if side.get("source") else ""
        return show.coloured("holds it", "green") + by
    return show.coloured("holds nothing", "yellow") + one_line(f": {side.get('text')}", 300)


def _table(answer: Shown) -> Iterator[str]:
    """Target by target; where only one of the two holds anything, its side of each row."""
    rows = answer.get("rows")
    found = [row for row in rows if _is_row(row)] if isinstance(rows, list) else []
    holders = [who for who in ("job", "laptop") if _side_of(answer, who).get("holds")]
    width = max((len(str(row["claim"])) for row in found), default=0)
    target = None
    for row in found:
        if row["target"] != target:
            target = row["target"]
            yield f"  {one_line(str(target), 100)}"
        name = f"{one_line(str(row['claim']), 60):<{width}}"
        if row.get("why") == _OF_JOBS and row["laptop"] is None:
            continue
        if len(holders) == 1:
            yield f"    {show.coloured(f'{holders[0]:<7}', 'dim')} {name}  {_value(row[holders[0]], _ALONE)}"
            continue
        if row["job"] == row["laptop"]:
            yield f"    {show.coloured('same   ', 'dim')} {name}  {_value(row['job'], _ALONE)}"
            continue
        mark = show.coloured("differs", "yellow" if row.get("right") else "red")
        why = show.coloured(one_line(f"({row['why']})", 200), "dim") if row.get("why") else ""
        yield f"    {mark} {name}  job {_value(row['job'])}, laptop {_value(row['laptop'])}  {why}".rstrip()
    alone = dict.fromkeys(str(row["claim"]) for row in found if row.get("why") == _OF_JOBS)
    if alone:
        yield "  " + one_line(f"in jobs alone, and never made up: {', '.join(alone)}", 1000)


def _is_row(row: object) -> bool:
    return isinstance(row, Mapping) and row.keys() >= {"target", "claim", "job", "laptop"}


def _value(value: object, widest: int = _WIDEST) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    line = one_line(str(text), 4000)
    return line if len(line) <= widest else line[: widest - 1] + "…"
