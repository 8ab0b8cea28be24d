"""Where the agent writes: its state and its socket's folder, writable and with room."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from juniperd import paths
from juniperd.doctor.finding import Finding
from juniperd.doctor.laptop import Laptop
from juniperd.errors import ConfigError

LEAST = 4 * 1024 * 1024
"""Bytes; a session's files take a few kilobytes, and a full disk is felt before the last one is gone."""


async def checks(laptop: Laptop) -> AsyncIterator[Finding]:
    """Both places, or the folder that they would be made in."""
    places = [paths.state_path(laptop.environ)]
    with suppress(ConfigError):  # a path that is too long is told with the socket
        places.append(paths.socket_path(laptop.environ).parent)
    found = [flaw for place in dict.fromkeys(map(_standing, places)) if (flaw := room(place)) is not None]
    for finding in found or [Finding("disk", f"{' and '.join(map(str, places))} can be written to")]:
        yield finding


def _standing(path: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())


def room(folder: Path) -> Finding | None:
    """What is wrong with a folder, if anything."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding("disk", f"{folder} cannot be written to", f"run: chmod u+wx {folder}, or ask its owner")
    free = os.statvfs(folder)
    if free.f_bavail * free.f_frsize < LEAST or (free.f_files and not free.f_favail):
        return Finding("disk", f"the disk of {folder} is full", f"free some of it: df -h {folder}")
    return None
