"""Changing a file that is the user's: shown first, written whole or not at all, with a backup and a way back."""

from __future__ import annotations

import difflib
import os
import tempfile
from pathlib import Path

from juniperd.errors import ConfigError

BACKUP = ".before-juniper"


def read(path: Path) -> str:
    """The file's text, its line ends as they are; a missing file is empty."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read as text"
        raise ConfigError(msg, f"check {path}") from error


def diff(path: Path, old: str, new: str) -> str:
    """What would change, in the form of diff -u; empty where nothing would."""
    lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), str(path), str(path))
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def write(path: Path, old: str, new: str) -> Path | None:
    """Replace the file atomically, its mode kept; answers the backup's path, None for a file that was not there.

    A link is followed to its end: whoever keeps dotfiles elsewhere keeps the link.
    """
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    exists = target.exists()
    if exists and not target.is_file():
        # A variable may name /dev/null, which a rename would make an ordinary file for the whole machine.
        msg = f"{path} is not a file"
        raise ConfigError(msg, "unset the variable that names it, or name a file")
    mode = target.stat().st_mode & 0o777 if exists else 0o600
    backup = target.with_name(target.name + BACKUP) if exists else None
    if backup is not None:
        replace(backup, old, mode)
    replace(target, new, mode)
    return backup


def remove(path: Path, old: str) -> Path:
    """Take away a file that is ours alone; answers the backup's path."""
    backup = path.with_name(path.name + BACKUP)
    replace(backup, old, 0o600)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        msg = f"{path} cannot be removed ({error.strerror})"
        raise ConfigError(msg, f"check the permissions of {path.parent}") from error
    return backup


def replace(target: Path, text: str, mode: int) -> None:
    """Write beside the target and rename over it: a reader sees the old file or the new one, and a full disk costs neither."""
    try:
        _replace(target, text, mode)
    except OSError as error:
        msg = f"{target} cannot be written ({error.strerror})"
        raise ConfigError(msg, f"check the space and the permissions of {target.parent}") from error


def _replace(target: Path, text: str, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink()
        raise
