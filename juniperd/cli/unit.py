"""The systemd user unit that starts the agent where somebody enabled it; driven by ``systemctl``, as its owner would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from juniperd.errors import AgentMissing, one_line

if TYPE_CHECKING:
    import subprocess

SOCKET, SERVICE = "juniperd.socket", "juniperd.service"
PATIENCE = 20.0
"""Seconds ``systemctl`` may take: stopping waits for what the agent has under way."""


@dataclass(frozen=True, slots=True)
class Unit:
    """An enabled unit, and what ran of it when it was looked for."""

    program: str
    listens: bool
    serves: bool

    def listen(self) -> None:
        """Have the user manager make the socket; the agent comes with the first caller."""
        self._do("start", SOCKET)

    def stop(self) -> None:
        """End the agent and wait for that; the socket stays, and starts it again for the next caller."""
        self._do("stop", SERVICE)

    def _do(self, verb: str, unit: str) -> None:
        do(self.program, verb, unit)


def do(program: str, *arguments: str) -> None:
    """Have the user manager do it, or say in its words why not."""
    done = _run(program, *arguments)
    if done is None or done.returncode:
        said = one_line(done.stderr, 200) if done is not None else "it does not answer"
        msg = f"systemctl cannot {' '.join(arguments)} ({said})"
        raise AgentMissing(msg, f"run: systemctl --user status {SOCKET if arguments[-1] != SERVICE else SERVICE}")


def manager(environ: Mapping[str, str]) -> str | None:
    """The ``systemctl`` of a user manager that runs, where this environment's socket is the one that it would make."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    own = environ.get("JUNIPER_SOCKET") or environ.get("JUNIPER_CONFIG")
    # A user manager has this socket; without one there is nobody to ask, and no program is started to find out.
    if own or not runtime.startswith("/") or not Path(runtime, "systemd", "private").exists():
        return None
    import shutil  # needed where there is a user manager, and dear where there is none

    return shutil.which("systemctl", path=environ.get("PATH"))


def enabled(environ: Mapping[str, str]) -> Unit | None:
    """The unit, where it is enabled and this environment's socket is the one it makes."""
    program = manager(environ)
    known = _run(program, "is-enabled", SOCKET) if program else None
    if program is None or known is None or known.returncode:
        return None
    active = _run(program, "is-active", SOCKET, SERVICE)
    states = [*(active.stdout.split() if active is not None else ()), "", ""]
    return Unit(program, listens=states[0] == "active", serves=states[1] in {"active", "activating"})


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    import subprocess

    try:
        return subprocess.run(
            [program, "--user", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
