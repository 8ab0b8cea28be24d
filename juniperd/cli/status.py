"""``juniper status``: what the agent holds, and until when."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from juniperd.cli import connection, show
from juniperd.errors import AgentMissing, one_line

EXAMPLES = "examples:\n  juniper status\n  juniper status --json | jq .leases"

Shown = Mapping[str, object]


def register(parser: argparse.ArgumentParser) -> None:
    """For people or for scripts."""
    parser.add_argument("--json", action="store_true", help="agent, sign_in, leases and sessions as JSON")


def run(args: argparse.Namespace) -> int:
    """Ask the agent; without one there is nothing held, and that is the answer."""
    try:
        status = dict(connection.result("status", timeout=5.0))
    except AgentMissing as missing:
        if args.json:
            show.as_json({"agent": None, "sign_in": None, "leases": [], "sessions": []})
        else:
            print(f"agent     {show.coloured('not running', 'yellow')}; {missing.remedy}")
        return 1
    status.pop("event", None)
    if args.json:
        show.as_json(status)
    else:
        print("\n".join(_lines(status)))
    return 0


def _lines(status: Shown) -> Iterator[str]:
    agent = status["agent"]
    if isinstance(agent, Mapping):
        yield f"agent     {show.coloured('running', 'green')}, version {agent['version']}, pid {agent['pid']}"
        yield from (f"note      {agent[key]}" for key in ("clock_note", "guard_note", "upgrade_note") if agent.get(key))
        store = agent.get("store")
        if isinstance(store, Mapping) and store.get("note"):
            yield f"note      {store['note']}"
    for sign_in in _mappings(status.get("sign_ins")):
        yield f"sign-in   {_sign_in(sign_in)}"
        if sign_in.get("gitlab"):
            yield f"sign-in   {sign_in['issuer']}: {one_line(str(sign_in['gitlab']))} at GitLab, for advice, in memory only"
    leases = list(_mappings(status["leases"]))
    yield from (f"lease     {_lease(lease)}" for lease in leases)
    if not leases:
        yield "lease     none; each is made when a tool first asks"
    yield from (f"session   {_session(session)}" for session in _mappings(status["sessions"]))


def _mappings(values: object) -> Iterator[Shown]:
    yield from (v for v in values if isinstance(v, Mapping)) if isinstance(values, list) else ()


def _sign_in(sign_in: Shown) -> str:
    if sign_in.get("state") == "locked":
        return f"{sign_in['issuer']}: {show.coloured('locked', 'yellow')}; run: juniper unlock"
    if sign_in.get("state") == "keyring-locked":
        return f"{sign_in['issuer']}: {show.coloured(str(sign_in['reason']), 'yellow')}"
    if sign_in.get("state") != "signed-in":
        reason = f" ({sign_in['reason']})" if sign_in.get("reason") else ""
        return f"{sign_in['issuer']}: {show.coloured('signed out', 'yellow')}{reason}; run: juniper login"
    line = f"{sign_in['issuer']}: {show.person(sign_in.get('user'))}"
    if sign_in.get("ends_at"):
        line += f" until {show.clock_time(sign_in['ends_at'])} ({sign_in['ends_by']})"
    return f"{line}; {show.coloured(str(sign_in['warning']), 'yellow')}" if sign_in.get("warning") else line


def _session(session: Shown) -> str:
    place = f"{session['project']} {session['environment']}"
    return one_line(f"{place} until {show.clock_time(session['ends_at'])}, {session['id']}")


def _lease(lease: Shown) -> str:
    left = int(str(lease["seconds_left"])) // 60
    kind = f"{lease['kind']}, to be traded by its tool" if lease.get("untraded") else lease["kind"]
    line = f"{lease['scope']} ({kind}), {left} min left, until {show.clock_time(lease['expires_at'])}"
    return f"{line}; {show.coloured(str(lease['problem']), 'yellow')}" if lease.get("problem") else line
