"""``juniper scopes``: what I may hold, and what I may not, of the projects that I can see."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence

from juniperd.cli import connection, show
from juniperd.errors import one_line

EXAMPLES = """examples:
  juniper scopes
  juniper scopes --project shop/billing
  juniper scopes --json"""

Row = Mapping[str, object]


def register(parser: argparse.ArgumentParser) -> None:
    """Of all projects or of one, for people or for scripts."""
    parser.add_argument("--project", metavar="GROUP/PROJECT", help="those of this project alone")
    parser.add_argument("--issuer", help="the issuer, where several are configured (default: all)")
    parser.add_argument("--json", action="store_true", help='as JSON: {"scopes": [{"name", "held", "reason", …}]}')


def run(args: argparse.Namespace) -> int:
    """Show them, those that I hold first, else in the policy's order."""
    rows = sorted(_rows(args.issuer, args.project), key=lambda row: not row["held"])
    if args.json:
        show.as_json({"scopes": rows})
        return 0
    print("\n".join(_lines(rows)) if rows else "none; ask whoever owns the policy")
    return 0


def _rows(issuer: str | None, project: str | None) -> Iterator[Row]:
    issuers = connection.result("catalogue", {"issuer": issuer})["issuers"]
    for name, document in issuers.items() if isinstance(issuers, Mapping) else ():
        for row in document["scopes"]:
            if project in (None, row.get("project")):
                yield {**row, "issuer": name}


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    """A line each, in columns: what it is called, where it leads, and in which project's environment."""
    several = len({row["issuer"] for row in rows}) > 1
    names = [one_line(f"{row['issuer']}/{row['name']}" if several else str(row["name"]), 120) for row in rows]
    width = max(map(len, names))
    for name, row in zip(names, rows, strict=True):
        place = one_line(f"{row.get('project')} {row.get('environment')}", 200)
        kinds = ", ".join(_kinds(row))
        if row["held"]:
            sleeps = "; sleeps until a debugging session" if row.get("activation") == "session" else ""
            yield f"{show.coloured('held   ', 'green')} {name:<{width}}  {place}  {kinds}, {row.get('access')}{sleeps}"
        else:
            reason = one_line(str(row.get("reason") or "refused"), 300)
            yield f"{show.coloured('refused', 'red')} {name:<{width}}  {place}  {reason}"


def _kinds(row: Row) -> list[str]:
    targets = row.get("targets")
    return [one_line(str(target.get("kind")), 20) for target in targets] if isinstance(targets, list) else []
