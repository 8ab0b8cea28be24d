"""``juniper debug``: a debugging session with a shell or one command in it, and an end that takes everything along."""

from __future__ import annotations

import argparse
import os
import queue
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from juniperd import config, paths
from juniperd.cli import checkout, child, connection, dry_run, kindly, show, subshell
from juniperd.cli.session import seconds
from juniperd.errors import GrantRefused, JuniperError, ProtocolError, SessionOver, UsageError, one_line
from juniperd.setup import session
from juniperd.setup.session import SOCKET, Held, Row

EXAMPLES = """examples:
  juniper debug shop/billing --env staging --for 1h --reason "invoices stuck"
  juniper debug shop/billing --env staging -- aws s3 ls
  juniper debug shop/billing --job archive-invoices
  juniper debug --read-only              in a checkout: its project, and the one environment there is
  juniper debug --extend 30m             in the shell that it opened
  juniper debug end"""
TAKES_COMMAND = True
USUAL = "1h"
OPENING = 65.0
"""Seconds that opening may take, in which every scope is judged."""


def register(parser: argparse.ArgumentParser) -> None:
    """Where, for how long and why; what stands behind ``--`` is the command."""
    parser.add_argument("project", nargs="?", help="the project's full path (default: this checkout's), or: end")
    parser.add_argument("--env", metavar="NAME", help="the environment to debug (default: the only one there is)")
    parser.add_argument(
        "--job", metavar="NAME", help="what this job of the project's pipeline would hold, as GitLab says"
    )
    parser.add_argument("--ref", help="narrow to a ref, as main, branch:main or tag:v1; with --job: its")
    parser.add_argument(
        "--scope", action="append", default=[], metavar="NAME", help="this scope alone; may be repeated"
    )
    parser.add_argument(
        "--for", dest="length", default=USUAL, metavar="TIME", help="30m, 1h … (default 1h, 12h at most)"
    )
    parser.add_argument("--reason", help="why, for the trail")
    parser.add_argument("--read-only", action="store_true", help="the read-only siblings of what would be held")
    parser.add_argument("--extend", metavar="TIME", help="move the end of the session that this shell is in")
    parser.add_argument("--issuer", help="the issuer, where several are configured")
    parser.epilog = f"{parser.epilog}\n\nwith -- COMMAND its exit status is ours, and we write to standard error alone"


def run(args: argparse.Namespace) -> int:
    """Do it; 2 for what cannot be meant, 1 for what was refused or failed."""
    if args.extend is not None:
        return _extend(args.extend)
    if args.project == "end":
        return _end()
    return _debug(args)


def _extend(length: str) -> int:
    asked = {"session": os.environ.get(SOCKET) or None, "seconds": seconds(length)}
    extended = connection.result("session_extend", asked)
    print(f"until {show.clock_time(extended['ends_at'])}")
    return 0


def _end() -> int:
    connection.result("session_close", {"session": os.environ.get(SOCKET) or None})
    print("the session has ended")
    return 0


# --- what is meant ----------------------------------------------------------------------------------------------------


def _debug(args: argparse.Namespace) -> int:
    length = seconds(args.length)
    issuer, rows, several = _catalogue(args.issuer)
    project = _project(args.project, rows)
    here = [row for row in rows if row.get("project") == project]
    job = (
        dry_run.of_job(args.job, project, issuer, ref=args.ref, environment=args.env) if args.job is not None else None
    )
    environment = _environment(args.env if job is None else job.environment, here)
    mine = [row for row in here if _fits(row, environment) and (job is None or job.holds(row))]
    scopes = _scopes(args.scope, mine, project, environment, of_job=job is not None)
    if job is not None and not scopes:
        scopes = job.scopes(mine)
    asked = {
        "project": project,
        "environment": environment,
        "ref": checkout.as_policy(args.ref) if job is None else job.selects(mine, scopes),
        "scopes": _read_only(mine, scopes) if args.read_only else scopes,
        "seconds": length,
        "reason": args.reason,
        "issuer": issuer,
    }
    return Debugging(asked, rows, several=several).run(args.command)


def _catalogue(named: str | None) -> tuple[str, list[Row], bool]:
    """The issuer that is meant with its rows, and whether several are configured."""
    issuers = connection.result("catalogue", {"issuer": named})["issuers"]
    found = issuers if isinstance(issuers, Mapping) else {}
    if len(found) != 1:
        msg = f"several issuers are configured: {', '.join(found)}"
        raise UsageError(msg, "name one with --issuer")
    ((name, document),) = found.items()
    several = len(config.load(paths.config_path()).issuers) > 1
    return str(name), [row for row in document["scopes"] if isinstance(row, Mapping)], several


def _project(named: str | None, rows: Sequence[Row]) -> str:
    known = list(dict.fromkeys(str(row.get("project")) for row in rows))
    found = named or checkout.project(known)
    if found in known and found is not None:
        return found
    if found is None:
        msg = "this is no checkout of a project that you hold a scope in"
        raise UsageError(msg, f"name one: juniper debug {known[0] if known else 'GROUP/PROJECT'} --env ENVIRONMENT")
    msg = f"you hold no scope in a project '{one_line(found, 100)}'"
    raise UsageError(
        msg, kindly.guess(found, known, "juniper debug {} --env ENVIRONMENT", "ask whoever owns the policy")
    )


def _environment(named: str | None, rows: Sequence[Row]) -> str:
    """The one named; else the one that the branch's own scopes are for, or the only one there is."""
    held = [row for row in rows if row.get("held")]
    branch = checkout.branch() if named is None else None
    for narrowed in ([row for row in held if row.get("ref") == f"branch:{branch}"], held):
        literal = list(dict.fromkeys(str(row.get("environment")) for row in narrowed if not _is_glob(row)))
        if named is None and len(literal) == 1:
            return literal[0]
    known = list(dict.fromkeys(str(row.get("environment")) for row in rows))
    project = rows[0].get("project")
    if named is None:
        msg = f"{project} has the environments {', '.join(known)}"
        raise UsageError(msg, f"choose one: juniper debug {project} --env {known[0]}")
    if any(_fits(row, named) for row in rows):
        return named
    msg = f"no scope of {project} is for an environment '{one_line(named, 100)}'"
    raise UsageError(msg, kindly.guess(named, known, f"juniper debug {project} --env {{}}", "run: juniper scopes"))


def _scopes(named: Sequence[str], rows: Sequence[Row], project: str, environment: str, *, of_job: bool) -> list[str]:
    known = [str(row.get("name")) for row in rows]
    for name in named:
        if name not in known:
            place = one_line(environment, 100) + (" that is the job's" if of_job else "")
            msg = f"{project} has no scope '{one_line(name, 100)}' for {place}"
            cure = f"it has: {', '.join(known)}" if known else "run: juniper scopes"
            raise UsageError(msg, kindly.guess(name, known, "write --scope {}", cure))
    return list(named)


def _is_glob(row: Row) -> bool:
    return any(mark in str(row.get("environment")) for mark in "*?[")


def _fits(row: Row, environment: str) -> bool:
    """Whether a row can be for this environment; of a pattern the issuer knows."""
    return row.get("environment") == environment or _is_glob(row)


def _read_only(rows: Sequence[Row], scopes: Sequence[str]) -> list[str]:
    """What only reads, and for what writes the sibling that policy names; what has none is left out, or refused."""
    found: dict[str, None] = {}
    for row in rows:
        if scopes and row.get("name") not in scopes:
            continue
        sibling = row.get("name") if row.get("access") == "read" else row.get("read_only")
        if isinstance(sibling, str):
            found[sibling] = None
        elif scopes:
            msg = f"scope '{row.get('name')}' has no read-only sibling"
            raise GrantRefused(msg, "ask whoever owns the policy for one, or leave --read-only out")
        elif row.get("held"):
            child.say(f"left out: {row.get('name')}, which has no read-only sibling")
    if not found:
        msg = "nothing there is read-only"
        raise GrantRefused(msg, "ask whoever owns the policy for a read-only sibling")
    return list(found)


# --- the session ------------------------------------------------------------------------------------------------------


class Debugging:
    """One session from its opening to its end; the agent ends it too where we die."""

    def __init__(self, asked: Mapping[str, object], rows: Sequence[Row], *, several: bool) -> None:
        self._asked = asked
        self._rows = rows
        self._several = several
        self._told: queue.SimpleQueue[Mapping[str, object] | Exception] = queue.SimpleQueue()
        self._folder = Path()
        self._over = threading.Event()
        self._opened = False

    def run(self, command: Sequence[str]) -> int:
        """The exit status of the command, or of the shell."""
        threading.Thread(target=self._listen, daemon=True).start()
        opened = self._first()
        self._folder = Path(str(opened["folder"]))
        try:
            words, environ = self._furnished(opened, command)
            status = child.run(words, environ, shell=not command)
        finally:
            self._close(str(opened["id"]))
        return status

    def _listen(self) -> None:
        """The agent's events: the first for who waits for it, the others told as they come."""
        try:
            events = connection.ask("debug", self._asked, timeout=13 * 3600.0)
            self._told.put(next(events))
            self._opened = True
            for event in events:
                self._tell(event)
        except (JuniperError, StopIteration) as error:
            self._told.put(error)
            if self._opened and not self._over.is_set():
                self._over.set()
                child.say("the agent went away, and the session with it")

    def _first(self) -> Mapping[str, object]:
        try:
            opened = self._told.get(timeout=OPENING)
        except queue.Empty:
            msg = f"the agent did not open a session within {OPENING:.0f} s"
            raise ProtocolError(msg, "run: juniper status") from None
        if isinstance(opened, JuniperError):
            self._over.set()
            raise opened
        if isinstance(opened, Exception):
            msg = "the agent opened no session"
            raise ProtocolError(msg, "run: juniper status")
        return opened

    def _tell(self, event: Mapping[str, object]) -> None:
        kind = event.get("event")
        if kind == "left":
            minutes = max(1, round(float(str(event.get("seconds"))) / 60))
            child.say(f"{minutes} min left; to go on: juniper debug --extend 30m")
        elif kind == "moved":
            self._note_end(event)
            child.say(f"until {show.clock_time(event.get('ends_at'))}")
        elif kind == "result" and not self._over.is_set():
            self._over.set()
            child.say(f"the session has ended ({event.get('cause')}), and with it every credential of it")

    def _furnished(self, opened: Mapping[str, object], command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """The words to run and their environment, with every file in its place."""
        names = opened.get("scopes")
        scopes = [str(name) for name in names] if isinstance(names, list) else []
        issuer = str(self._asked["issuer"]) if self._several else ""
        sandbox = config.load(paths.config_path()).sandbox
        held = child.with_authorities(session.held(self._rows, scopes, issuer=issuer, sandbox=sandbox))
        bin_folder = Path(sys.argv[0]).resolve().parent
        environ = session.furnished(held, self._folder, str(opened["socket"]), os.environ, bin_folder)
        self._note_end(opened)
        about = one_line(f"{opened['project']} {opened['environment']}", 120)
        _introduce(about, opened, held, self._folder)
        if command:
            return list(command), environ
        shell = subshell.shell(subshell.program(os.environ), self._folder, about, environ)
        session.write(self._folder, shell.files)
        return list(shell.words), {**environ, **shell.variables}

    def _note_end(self, event: Mapping[str, object]) -> None:
        ends = datetime.fromisoformat(str(event["ends_at"])).timestamp()
        with suppress(SessionOver):
            session.write(self._folder, {subshell.ENDS: f"{int(ends)}\n"})

    def _close(self, number: str) -> None:
        """End it in so many words; an agent that cannot be told has seen us go."""
        if self._over.is_set():
            return
        self._over.set()
        try:
            connection.result("session_close", {"session": number})
        except SessionOver:
            return
        except JuniperError as error:
            child.say(f"the issuer could not be told of the end ({error})")
            return
        child.say("the session has ended, and with it every credential of it")


def _introduce(about: str, opened: Mapping[str, object], held: Held, folder: Path) -> None:
    scopes = opened.get("scopes")
    names = ", ".join(map(str, scopes)) if isinstance(scopes, list) else ""
    child.say(f"{about} until {show.clock_time(opened['ends_at'])}; scopes: {names}")
    for row in _rows(opened.get("refused")):
        child.say(f"left out: {row.get('scope')} ({row.get('text')})")
    if len(held.profiles) > 1:
        others = ", ".join(profile.name for profile in held.profiles[1:])
        child.say(f"aws: {held.profiles[0].name} where none is named; --profile for {others}")
    if len(held.google) > 1:
        others = ", ".join(str(folder / f"google/{one.name}.json") for one in held.google[1:])
        child.say(
            f"google: {held.google[0].name} where none is named; GOOGLE_APPLICATION_CREDENTIALS={others} for others"
        )
    if not _in_memory(folder):
        child.say(f"no folder here is kept in memory, so the session's settings, which hold no secret, lie in {folder}")


def _rows(value: object) -> Iterator[Row]:
    yield from (row for row in value if isinstance(row, Mapping)) if isinstance(value, list) else ()


def _in_memory(folder: Path) -> bool:
    """Whether the folder is on a tmpfs (proc(5), mountinfo); where nobody says so, it is taken for a disk."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    mounts = [(fields[4], fields[fields.index("-") + 1]) for fields in map(str.split, lines)]
    under = [(place, kind) for place, kind in mounts if folder.is_relative_to(place)]
    return max(under, key=lambda one: len(one[0]), default=("", ""))[1] in {"tmpfs", "ramfs"}
