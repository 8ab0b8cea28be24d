"""What the folder we stand in says: the project, by its Git remotes, and the branch."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection

_SSH = re.compile(r"(?:ssh://)?(?:[^@/]+@)?[^:/]+(?::[0-9]+)?[:/](?P<path>.+)")
_HTTPS = re.compile(r"https?://[^/]+/(?P<path>.+)")
LIMIT = 5.0
"""Seconds git may take to say so."""


def project(known: Collection[str]) -> str | None:
    """The one of the ``known`` projects that a remote of this checkout leads to, ``origin`` before others."""
    by_name = {name.lower(): name for name in known}
    remotes = _git("remote").split()
    for remote in sorted(remotes, key=lambda name: name != "origin"):
        found = by_name.get(path_of(_git("remote", "get-url", remote)).lower())
        if found is not None:
            return found
    return None


def branch() -> str | None:
    """The branch that is checked out."""
    return _git("symbolic-ref", "--quiet", "--short", "HEAD") or None


def name_of(ref: str) -> str:
    """A ref's name, which may be written as policy writes it."""
    return ref.removeprefix("branch:").removeprefix("tag:")


def as_policy(ref: str | None) -> str | None:
    """The same as policy writes it; a bare name is a branch's."""
    return ref if ref is None or ref.startswith(("branch:", "tag:")) else f"branch:{ref}"


def path_of(url: str) -> str:
    """The project's path in a remote's URL, as ``https``, ``ssh`` or ``user@host:path``."""
    found = _HTTPS.fullmatch(url) or _SSH.fullmatch(url)
    return found["path"].strip("/").removesuffix(".git") if found else ""


def _git(*words: str) -> str:
    """What git prints; nothing where there is none, or no checkout."""
    program = shutil.which("git")
    if program is None:
        return ""
    try:
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
