"""Changing a file that is the user's: shown first, written whole or not at all, with a backup and a way back."""

from __future__ import annotations

import difflib
import os
import shlex
import stat
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


def before(path: Path) -> str | None:
    """What the file was before our last change to it, from its backup; ``None`` where it was not there."""
    backup = backup_of(path)
    return read(backup) if backup.exists() else None


def was_empty(path: Path) -> bool:
    """Whether a file that is left with nothing in it is to stay: it was there before us, or a link leads to it."""
    return path.is_symlink() or before(path) == ""


def check(path: Path) -> None:
    """Refuse what must not be replaced: a thing that is no file, or a file that its owner made read-only."""
    target = path.resolve()
    if not target.exists():
        return
    if not target.is_file():
        # A variable may name /dev/null, which a rename would make an ordinary file for the whole machine.
        msg = f"{path} is not a file"
        raise ConfigError(msg, "unset the variable that names it, or name a file")
    if not target.stat().st_mode & stat.S_IWUSR:
        msg = f"{path} is read-only"
        raise ConfigError(msg, f"run: chmod u+w {shlex.quote(str(target))}")


def check_same(path: Path, old: str) -> None:
    """Refuse to write over what somebody wrote while the change was shown and asked for."""
    if read(path) != old:
        msg = f"{path} has changed since it was shown"
        raise ConfigError(msg, "run the same again")


def write(path: Path, old: str, new: str) -> Path | None:
    """Replace the file atomically, its mode kept; answers the backup's path, None for a file that was not there.

    A link is followed to its end: whoever keeps dotfiles elsewhere keeps the link.
    """
    check(path)
    target = path.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        msg = f"{target.parent} cannot be made ({error.strerror})"
        raise ConfigError(msg, f"check {target.parent} and the folders above it") from error
    exists = target.exists()
    mode = target.stat().st_mode & 0o777 if exists else 0o600
    backup = backup_of(target) if exists else None
    if backup is not None:
        replace(backup, old, mode)
    replace(target, new, mode)
    return backup


def backup_of(path: Path) -> Path:
    """Where the file was kept before our last change, beside what its link leads to."""
    target = path.resolve()
    return target.with_name(target.name + BACKUP)


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
