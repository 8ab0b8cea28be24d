"""A sandbox's folder: where each thing lies, and the note from which `env` and `down` know what runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from juniperd.sandbox.processes import Process

MARKER: Final = ".juniper-sandbox"
NOTE: Final = "sandbox.json"
VERSION: Final = 1
# AWS SDKs split credential_process each in its own way; these characters mean the same to all of them.
_PLAIN: Final = re.compile(r"[A-Za-z0-9/_.+,@-]+")
SOCKET_LIMIT: Final = 107


class SandboxError(Exception):
    """One line for the person: what is wrong, then the cure."""


@dataclass(frozen=True, slots=True)
class Note:
    """What runs in a sandbox and where it answers."""

    processes: tuple[Process, ...] = ()
    run_dir: str = ""
    urls: dict[str, str] = field(default_factory=dict)
    version: int = VERSION

    def to_json(self) -> str:
        """For `sandbox.json` and `up --json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Note:
        """The note, or `SandboxError` for another version's."""
        row = json.loads(text)
        if row.get("version") != VERSION:
            raise SandboxError(
                f"this sandbox was made by another version of juniper ({row.get('version')}); "
                "end it with that version, or remove its folder"
            )
        processes = tuple(Process(**process) for process in row["processes"])
        return cls(processes, row["run_dir"], row["urls"])


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder given with `--dir`."""

    root: Path

    @classmethod
    def at(cls, given: str) -> Folder:
        """An absolute, plain path, or `SandboxError`."""
        root = Path(os.path.abspath(given))  # noqa: PTH100  # a symlink stays as given: /tmp is one on macOS
        if not _PLAIN.fullmatch(str(root)):
            raise SandboxError(
                f"the folder {str(root)!r} has characters that AWS configuration files cannot carry; "
                "choose one with letters, digits and . _ - only"
            )
        return cls(root)

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def make(self) -> None:
        """Create the folder, mode 0700, with our marker; another sandbox or foreign files are an error."""
        if self.is_ours():
            raise SandboxError(
                f"there is a sandbox in {self.root} already; end it with: juniper sandbox down --dir {self.root}"
            )
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(self.root.iterdir()):
            raise SandboxError(f"the folder {self.root} is not empty; choose a new one with --dir")
        self.root.chmod(0o700)
        try:
            os.close(os.open(self / MARKER, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            raise SandboxError(f"another sandbox is coming up in {self.root}; choose another --dir") from None

    def is_ours(self) -> bool:
        """Whether a sandbox made this folder."""
        return (self / MARKER).is_file()

    def write(self, name: str, text: str | bytes, *, mode: int = 0o600) -> Path:
        """Write a file whole or not at all."""
        path = self / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.draft")
        data = text.encode() if isinstance(text, str) else text
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode), "wb") as out:
            out.write(data)
        draft.replace(path)
        return path

    def ready(self) -> Note:
        """What runs here, once all of it does."""
        note = self.note()
        if not note.urls:
            raise SandboxError(f"the sandbox in {self.root} is still coming up; try again in a moment")
        return note

    def note(self) -> Note:
        """What runs here, perhaps not yet all of it, or `SandboxError` where nothing does."""
        try:
            return Note.from_json((self / NOTE).read_text())
        except FileNotFoundError:
            raise SandboxError(
                f"no sandbox runs in {self.root}; start one with: juniper sandbox up --dir {self.root}"
            ) from None

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.root, ignore_errors=True)


def private_run_dir() -> Path:
    """A new short folder, mode 0700, for sockets, whose paths have 107 bytes at most."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    places = [runtime] if runtime and _private(Path(runtime)) else []
    for place in [*places, tempfile.gettempdir(), "/tmp"]:  # noqa: S108  # mkdtemp below makes a private folder in it
        if len(os.fsencode(f"{place}/juniper-sandbox-XXXXXXXX/control.sock")) <= SOCKET_LIMIT:
            return Path(tempfile.mkdtemp(prefix="juniper-sandbox-", dir=place))
    raise SandboxError("no folder with a path short enough for a socket; set TMPDIR to a shorter one")


def _private(path: Path) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
