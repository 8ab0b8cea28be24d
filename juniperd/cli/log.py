"""``juniper log``: my own recent sessions, mints and refusals at the issuer, and who used them on this laptop."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence

from juniperd.cli import connection, session, show
from juniperd.errors import UsageError, one_line

EXAMPLES = """examples:
  juniper log
  juniper log --since 7d
  juniper log --since 2h --json"""
USUAL = "1d"
LONGEST = 31 * 86_400
"""Seconds that an issuer's answer goes back at most."""
_DAYS = re.compile(r"([1-9][0-9]{0,4})d", re.ASCII)

Shown = Mapping[str, object]


def register(parser: argparse.ArgumentParser) -> None:
    """How far back, for people or for scripts."""
    parser.add_argument("--since", default=USUAL, metavar="TIME", help="how far back, as 30m, 12h or 7d (default 1d)")
    parser.add_argument("--issuer", help="the issuer, where several are configured (default: all)")
    parser.add_argument("--json", action="store_true", help="issuers, uses and refusals as JSON")


def run(args: argparse.Namespace) -> int:
    """Show what there is; an issuer that cannot be asked is a line, and no failure."""
    asked = {"seconds": _back(args.since), "issuer": args.issuer}
    found = dict(connection.result("log", asked))
    found.pop("event", None)
    if args.json:
        show.as_json(found)
    else:
        print("\n".join(_lines(found)))
    return 0


def _back(text: str) -> int:
    """A length of time in seconds, days included."""
    days = _DAYS.fullmatch(text)
    try:
        seconds = int(days[1]) * 86_400 if days else session.seconds(text)
    except UsageError as error:
        raise UsageError(error.message, "write it as 30m, 12h or 7d") from None
    if seconds > LONGEST:
        msg = f"--since {text} is too long ago"
        raise UsageError(msg, "write 31d at most")
    return seconds


def _lines(found: Shown) -> Iterator[str]:
    issuers = found.get("issuers")
    trails = issuers if isinstance(issuers, Mapping) else {}
    for name, trail in trails.items():
        yield from _trail(f" at {one_line(str(name), 40)}" if len(trails) > 1 else "", trail)
    if found.get("problem"):
        yield _missing("", found["problem"])
    yield f"uses on this laptop, since its agent began {_when(found.get('started_at'))}"
    yield from _or_none([_use(row) for row in _rows(found.get("uses"))])
    yield "what tools were answered here in place of a credential"
    yield from _or_none([_refusal(row) for row in _rows(found.get("refusals"))])


def _trail(where: str, trail: Shown) -> Iterator[str]:
    if trail.get("problem"):
        yield _missing(where, trail["problem"])
        return
    events = list(_rows(trail.get("events")))
    yield f"sessions{where}"
    yield from _or_none(_sessions(events))
    yield f"mints and refusals{where}"
    yield from _or_none([_decision(row) for row in events if str(row.get("event")) in {"decision", "session_refused"}])
    if trail.get("more"):
        yield "  the issuer has earlier ones, and tells no more at once"


def _sessions(events: Sequence[Shown]) -> list[str]:
    """A line for each session, in the order in which they are first heard of."""
    told: dict[str, dict[str, object]] = {}
    for row in events:
        if str(row.get("event")) in {"session_opened", "session_extended", "session_ended"}:
            begun = {"begun": row.get("time")} if row["event"] == "session_opened" else {}
            told.setdefault(str(row.get("session")), {}).update({**row, **begun})
    return [_session(one) for one in told.values()]


def _session(told: Shown) -> str:
    if told.get("ended_at"):
        cause = str(told.get("cause") or "by an administrator").replace("_", " ")
        until = f"{_when(told['ended_at'])} ({cause})"
    else:
        until = f"{_when(told.get('ends_at'))} at the latest"
    begun = _when(told["begun"]) if "begun" in told else "earlier"
    return _line(f"{begun} to {until}", _place(told), told.get("session"))


def _decision(row: Shown) -> str:
    permitted = row.get("verdict") == "permitted"
    mark = show.coloured("permitted", "green") if permitted else show.coloured("refused  ", "red")
    if row.get("event") == "session_refused":
        about = [f"a session on {_place(row)}", row.get("reason"), row.get("id") or row.get("session")]
    else:
        party = f"at {row['relying_party']}" if row.get("relying_party") else ""
        within = f"session {row['session']}" if row.get("session") else ""
        about = [row.get("scope"), party, row.get("reason"), within, "" if permitted else row.get("id")]
    return f"  {_when(row.get('time'))}  {mark}{_line(*about)}"


def _use(row: Shown) -> str:
    within = f"session {row['session']}" if row.get("session") else ""
    return _line(f"{row.get('count')}x {_program(row)}", f"{row.get('issuer')}/{row.get('scope')}", within, _span(row))


def _refusal(row: Shown) -> str:
    return _line(f"{row.get('count')}x {_program(row)}", row.get("scope"), _span(row), row.get("text"))


def _program(row: Shown) -> object:
    """The program by its path; where that is unknown, as on macOS, by the name it was called with."""
    return row.get("program") or row.get("helper")


def _place(row: Shown) -> str:
    return f"{row['project']} {row.get('environment')}" if row.get("project") else ""


def _span(row: Shown) -> str:
    first, last = _when(row.get("first")), _when(row.get("last"))
    return last if first == last else f"{first} to {last}"


def _when(moment: object) -> str:
    """A moment on the person's own clock; what an issuer calls one may be anything."""
    try:
        return show.clock_time(moment)
    except (ValueError, OverflowError, OSError):
        return show.clock_time(None)


def _missing(where: str, problem: object) -> str:
    return one_line(f"sessions, mints and refusals{where} are not known now: {problem}", 400)


def _line(*cells: object) -> str:
    """Cells of a row with two spaces before each, those that are empty left out."""
    return "".join(f"  {one_line(str(cell), 400)}" for cell in cells if cell)


def _or_none(lines: Sequence[str]) -> Sequence[str]:
    return lines or ["  none"]


def _rows(value: object) -> Iterator[Shown]:
    yield from (row for row in value if isinstance(row, Mapping)) if isinstance(value, list) else ()
