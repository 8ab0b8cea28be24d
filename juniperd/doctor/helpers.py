"""The helpers: beside this ``juniper``, and where the tools of a shell and of the desktop look for them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from pathlib import Path

from juniperd.doctor.agent import of_manager
from juniperd.doctor.finding import Finding, note
from juniperd.doctor.laptop import Laptop
from juniperd.protocols import docker, git, google, kubectl
from juniperd.setup.session import AWS_HELPER
from juniperd.threads import in_thread

HELPERS = (AWS_HELPER, google.HELPER, kubectl.HELPER, docker.HELPER, git.HELPER)
BY_PATH = docker.HELPER
"""The one that tools look for in PATH; the others stand in the tools' files with their whole path."""
OF_DESKTOP = Path("/etc/environment")
_PATH = re.compile(r"""^\s*(?:export\s+)?PATH=["']?([^"'\n]*)""", re.MULTILINE)
REINSTALL = "reinstall juniperd"


async def checks(laptop: Laptop) -> AsyncIterator[Finding]:
    """Each helper, and each PATH."""
    for finding in [*beside(laptop.programs), *in_path(laptop.programs, laptop.environ)]:
        yield finding
    path = await in_thread(partial(of_desktop, laptop.environ), name="desktop")
    if path is not None and not _found(BY_PATH, path):
        told = f"programs that the desktop starts have no {BY_PATH} in their PATH"
        yield note("helpers", f"{told} ({path}); where Docker needs it there, link {laptop.programs / BY_PATH} into it")


def beside(programs: Path) -> Iterator[Finding]:
    """The helpers of this very installation."""
    lost = [name for name in (*HELPERS, "juniperd") if not _runs(programs / name)]
    yield from (Finding("helpers", f"there is no program {programs / name}", REINSTALL) for name in lost)
    if not lost:
        yield Finding("helpers", f"{', '.join(HELPERS)} lie in {programs}")


def in_path(programs: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What the tools of this shell find."""
    path = environ.get("PATH", os.defpath)
    for name in ("juniper", *HELPERS):
        others = [one for one in _found(name, path) if one.resolve().parent != programs]
        if others:
            told = f"{others[0]} is of another installation than {programs / name}"
            yield Finding("helpers", told, "remove one of them, or put the right folder first in PATH")
    if not _found(BY_PATH, path):
        told = f"{BY_PATH} is not in PATH, where Docker and its kin look for it"
        yield Finding("helpers", told, f"add {programs} to PATH")


def of_desktop(environ: Mapping[str, str]) -> str | None:
    """The PATH that programs with windows get, as far as it can be known here."""
    if sys.platform == "darwin":
        return "/usr/bin:/bin:/usr/sbin:/sbin"
    text = of_manager(environ, "show-environment")
    if text is None:
        try:
            text = OF_DESKTOP.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
    found = _PATH.search(text)
    return found[1] if found else None


def _found(name: str, path: str) -> list[Path]:
    return [Path(folder, name) for folder in path.split(os.pathsep) if folder and _runs(Path(folder, name))]


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
