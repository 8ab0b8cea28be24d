"""The folder that a server keeps its state in: private, and worked on by one process at a time."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from juniperd.errors import StateError


def private_folder(path: Path, *, named_in: str) -> Path:
    """The folder, made with mode 0700; one that others may enter or own is refused. ``named_in`` is for the cure."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        msg = f"the folder {path} cannot be made ({error.strerror})"
        raise StateError(msg, f"check the path in {named_in}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        msg = f"{path} is not a folder of this user"
        raise StateError(msg, f"run as the owner of {path}, or name another folder in {named_in}")
    if found.st_mode & 0o077:
        msg = f"the folder {path} is open to others"
        raise StateError(msg, f"run: chmod 700 {path}")
    return path


def lock(folder: Path, *, holder: str) -> int:
    """The folder's lock, held until the descriptor is closed; a second ``holder`` is refused."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        msg = f"another {holder} works on {folder}"
        raise StateError(msg, "stop it first, or give this one a state folder of its own") from None
    return descriptor
