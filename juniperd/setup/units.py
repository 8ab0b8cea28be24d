"""The systemd user unit's files: where they lie, and what stands in ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from juniperd.errors import ConfigError, one_line

NAMES = ("juniperd.service", "juniperd.socket")
PACKAGED = tuple(
    Path(folder, "systemd/user") for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib", "/usr/share")
)
"""Where a package of the distribution puts units for every user (systemd.unit(5), "Unit File Load Path")."""
_MARK = "# written by: juniper setup unit    undo: juniper setup unit --undo\n"
_START = re.compile(r"^ExecStart=.*$", re.MULTILINE)
_SAFE = re.compile(r"[A-Za-z0-9_./@+-]+")


def folder(environ: Mapping[str, str], home: Path) -> Path:
    """The person's own units."""
    base = environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else home / ".config") / "systemd" / "user"


def packaged() -> bool:
    """Whether a package has brought the unit."""
    return any((place / NAMES[1]).exists() for place in PACKAGED)


def wanted(juniperd: Path) -> dict[str, str]:
    """Our files by name; the service starts the ``juniperd`` that is installed here."""
    if not _SAFE.fullmatch(str(juniperd)):
        msg = f"{one_line(str(juniperd), 200)} has characters that mean something to systemd"
        raise ConfigError(msg, "install juniperd below a path of letters, digits, '-', '_' and '.'")
    texts = {name: _MARK + (_source() / name).read_text() for name in NAMES}
    texts[NAMES[0]] = _START.sub(f"ExecStart={juniperd}", texts[NAMES[0]])
    return texts


def is_ours(text: str) -> bool:
    """Whether set-up wrote the file."""
    return text.startswith(_MARK)


def _source() -> Path:
    """The files as the package brings them, or beside a checkout's sources."""
    inside = Path(__file__).with_name("systemd")
    return inside if inside.is_dir() else Path(__file__).parents[2] / "packaging" / "systemd"
