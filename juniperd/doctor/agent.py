"""The agent: whether it runs and is this release's, its socket's folder, and the variables that lead past it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from pathlib import Path

from juniperd import __version__, paths
from juniperd.doctor.finding import Finding, note
from juniperd.doctor.laptop import Event, Laptop
from juniperd.door import check_folder
from juniperd.errors import AgentMissing, JuniperError
from juniperd.threads import in_thread

SESSION = "JUNIPER_SESSION_SOCKET"
REDIRECTS = ("JUNIPER_SOCKET", "JUNIPER_CONFIG")
UNITS = ("juniperd.socket", "juniperd.service")
LIMIT = 3.0
"""Seconds the user manager may take for one question."""
RESTART = "run: juniper down; juniper up"


async def configuration(laptop: Laptop) -> AsyncIterator[Finding]:
    """``juniper.toml``."""
    if laptop.config is None:
        if laptop.problem is not None:
            yield Finding.of_error("configuration", laptop.problem)
        return
    yield Finding("configuration", f"{laptop.config.path} names {', '.join(laptop.config.issuers)}")


async def checks(laptop: Laptop) -> AsyncIterator[Finding]:
    """The agent with all that lies between it and a tool."""
    async for finding in _running(laptop):
        yield finding
    for finding in [*_place(laptop.environ), *_variables(laptop.environ)]:
        yield finding
    for finding in await in_thread(partial(_units, laptop.environ), name="units"):
        yield finding


async def _running(laptop: Laptop) -> AsyncIterator[Finding]:
    try:
        status = await laptop.ask("status")
    except JuniperError as error:
        if laptop.config is not None or not isinstance(error, AgentMissing):
            yield Finding.of_error("agent", error)
        return
    said = status.get("agent")
    for finding in _of(said if isinstance(said, Mapping) else {}):
        yield finding


def _of(said: Event) -> Iterator[Finding]:
    """What the agent says of itself."""
    version = said.get("version")
    if version != __version__:
        yield Finding("agent", f"version {version} runs, and juniper is {__version__}", RESTART)
    else:
        yield Finding("agent", f"version {version}, pid {said.get('pid')}, since {said.get('started_at')}")
    yield from (note("agent", str(said[key])) for key in ("upgrade_note", "guard_note") if said.get(key))


def _place(environ: Mapping[str, str]) -> Iterator[Finding]:
    """The socket's path and its folder, as the agent would check them."""
    try:
        path = paths.socket_path(environ)
        if path.parent.exists():
            check_folder(path.parent, make=False)
    except JuniperError as error:
        yield Finding.of_error("socket", error)
        return
    kind = "in a folder of your own" if path.parent.exists() else "which the first agent makes"
    yield Finding("socket", f"{path}, {kind}")


def _variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that lead tools elsewhere."""
    try:
        paths.check_environment(environ)
    except JuniperError as error:
        yield Finding.of_error("variables", error)
    yield from (
        note("variables", f"{name} is set, so this shell speaks of {environ[name]}")
        for name in REDIRECTS
        if environ.get(name)
    )
    if not environ.get(SESSION):
        return
    if answers(Path(environ[SESSION])):
        yield note("variables", f"{SESSION} is set: tools of this shell get a debugging session's scopes alone")
    else:
        told = f"{SESSION} names a session that has ended, so every tool of this shell fails"
        yield Finding("variables", told, f"run: unset {SESSION}, or leave this shell")


def answers(path: Path) -> bool:
    """Whether anybody listens at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.settimeout(1.0)
        try:
            knock.connect(os.fspath(path))
        except OSError:
            return False
    return True


def _units(environ: Mapping[str, str]) -> list[Finding]:
    """The systemd user units, where there is a user manager and one of them is known to it."""
    properties = ("Id", "LoadState", "ActiveState", "UnitFileState", "Result")
    shown = of_manager(environ, "show", "--property", ",".join(properties), *UNITS)
    units = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in (shown or "").split("\n\n")]
    return [_unit(unit) for unit in units if unit.get("LoadState") not in {None, "not-found"}]


def _unit(unit: Mapping[str, str]) -> Finding:
    name, state = unit.get("Id", ""), unit.get("ActiveState")
    if unit.get("LoadState") != "loaded" or state == "failed":
        told = f"{name} is {state} ({unit.get('LoadState')}, {unit.get('Result')})"
        return Finding("unit", told, f"run: systemctl --user reset-failed {name}; systemctl --user status {name}")
    return Finding("unit", f"{name} is {state}, {unit.get('UnitFileState') or 'static'}")


def of_manager(environ: Mapping[str, str], *words: str) -> str | None:
    """What the systemd user manager answers; ``None`` where there is none, or it fails."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    program = shutil.which("systemctl", path=environ.get("PATH"))
    if program is None or not runtime.startswith("/") or not Path(runtime, "systemd", "private").exists():
        return None
    try:
        asked = [program, "--user", *words]
        done = subprocess.run(
            asked,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
