"""Git's credential settings for each project that is held, as Git itself reads all its files."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

from juniperd.doctor.finding import Finding, note
from juniperd.doctor.laptop import Laptop
from juniperd.model import Kind
from juniperd.protocols.git import HELPER
from juniperd.setup.git import COMMAND
from juniperd.threads import in_thread

LIMIT = 4.0
"""Seconds Git may take to read its files."""
MOST = 8
"""Projects that are looked at: one process each, and all are written in one go."""


async def checks(laptop: Laptop) -> AsyncIterator[Finding]:
    """One finding for each project, or one for all where no line is ours yet."""
    held = {(str(one.target.get("host")), one.project) for one in await laptop.held(Kind.GIT)}
    program = shutil.which("git", path=laptop.environ.get("PATH"))
    if not held:
        return
    if program is None:
        yield note("git", "none is in PATH")
        return
    for host, project in sorted(held)[:MOST]:
        url = f"https://{host}/{project}.git"
        said = await in_thread(partial(settings, program, url, laptop.environ), name="git")
        yield judged(url, said)


def settings(program: str, url: str, environ: Mapping[str, str]) -> dict[str, str] | None:
    """The ``credential`` settings that count for one URL; ``None`` where Git does not say."""
    command = [program, "config", "--get-urlmatch", "credential", url]
    try:
        done = subprocess.run(
            command,
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
    if done.returncode not in {0, 1}:
        return None
    return {name.lower(): value for name, _, value in (line.partition(" ") for line in done.stdout.splitlines())}


def judged(url: str, said: Mapping[str, str] | None) -> Finding:
    """What the settings mean for a fetch."""
    if said is None:
        return Finding("git", "it cannot read its configuration", "run: git config --list, and mend what it names")
    program = _program(said.get("credential.helper", ""))
    if Path(program).name != HELPER:
        who = f"{program} answers" if program else "no helper of ours answers"
        if program.startswith("!"):
            who = "a command of your own answers"  # which may have a password in it
        return note("git", f"{who} for {url}; {COMMAND} has ours do so")
    if not os.access(program, os.X_OK):
        return Finding("git", f"there is no program {program}, which Git runs for {url}", f"run: {COMMAND}")
    if said.get("credential.usehttppath") != "true":
        return Finding(
            "git", f"useHttpPath is not true for {url}, so Git does not say which project", f"run: {COMMAND}"
        )
    return Finding("git", f"asks us for {url}")


def _program(helper: str) -> str:
    """The program of a helper's line, which Git hands to a shell."""
    try:
        return next(iter(shlex.split(helper)), "")
    except ValueError:
        return "!"
