"""``juniper explain``: what GitLab was asked for a scope, what it answered, which rule decided, what would change it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from juniperd.cli import checkout, connection, kindly, show
from juniperd.errors import UsageError, one_line

EXAMPLES = """examples:
  juniper explain invoice-archive-writer
  juniper explain review-logs --environment review/42 --json"""

Shown = Mapping[str, object]


def register(parser: argparse.ArgumentParser) -> None:
    """Which scope, selected how."""
    parser.add_argument("scope", help="a scope's name, or ISSUER/SCOPE")
    parser.add_argument("--environment", help="select an environment, where the scope's is a pattern")
    parser.add_argument("--ref", help="select a ref, as main, branch:main or tag:v1")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    """Explain it; the status tells a script the verdict: 0 permitted, 1 refused, 2 no scope of theirs."""
    asked = {"scope": args.scope, "environment": args.environment, "ref": checkout.as_policy(args.ref)}
    answer = dict(connection.result("explain", asked))
    answer.pop("event", None)
    if answer.get("verdict") == "refused" and "rule" not in answer:
        _known(args.scope, answer)
    if args.json:
        show.as_json(answer)
    else:
        print("\n".join(_lines(args.scope, answer)))
    return 0 if answer.get("verdict") == "permitted" else 1


def _known(scope: str, answer: Shown) -> None:
    """Nothing is told of a name: who sees other scopes hears that it is none of theirs, and which one is near."""
    # Who is nobody in GitLab has no catalogue, and the refusal with its id is what they came for.
    names = [str(row.get("name")) for row in kindly.seen(answer.get("issuer"))]
    if names and scope.rpartition("/")[2] not in names:
        msg = f"you can see no scope '{one_line(scope, 100)}' ({one_line(str(answer.get('id')), 64)})"
        raise UsageError(msg, kindly.guess_scope(scope, names, "run: juniper explain {}", "run: juniper scopes"))


def _lines(scope: str, answer: Shown) -> Iterator[str]:
    permitted = answer.get("verdict") == "permitted"
    verdict = show.coloured("permitted", "green") if permitted else show.coloured("refused", "red")
    reason = one_line(f" by rule {answer['rule']}: {answer['text']}") if answer.get("text") else ""
    yield f"{scope}: {verdict} {reason}".rstrip()
    steps = answer.get("steps")
    rows = [{k: one_line(str(v), 200) for k, v in step.items()} for step in steps] if isinstance(steps, list) else []
    width = max((len(row["asked"]) for row in rows), default=0)
    for row in rows:
        mark = show.coloured("ok     ", "green") if row["verdict"] == "ok" else show.coloured("refused", "red")
        yield f"  rule {row['rule']}  {mark}  {row['asked']:<{width}}  {show.coloured(row['answered'], 'dim')}"
    if not permitted and answer.get("cure"):
        yield one_line(f"  what would change it: {answer['cure']}", 400)
    if not permitted and not rows:
        yield f"  ask who runs the issuer, with this id: {answer.get('id')}"
