"""`juniper sandbox job`: a command as a job of the sandbox's GitLab, run as a runner runs one.

The command's environment holds the job's variables and nothing of the caller's but PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from juniperd.sandbox import commands
from juniperd.sandbox.ci_jobs import Wish
from juniperd.sandbox.environment import program
from juniperd.sandbox.folder import Folder, SandboxError
from juniperd.sandbox.gitlab_files import JOB

LOOK: Final = 1.0
"""Seconds between two looks at whether the job was canceled meanwhile; a runner takes longer."""
GRACE: Final = 10.0
"""Seconds that a job has to end by itself, before it is ended."""
CANCELED: Final = 1
"""The exit status of a job that somebody else canceled."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run(folder: Folder, wish: Wish, command: Sequence[str]) -> int:
    """The command's status; `SandboxError` where GitLab runs no such job for this person."""
    if not command:
        raise SandboxError(f"no command is named; write: juniper sandbox job {wish.name} --dir D -- COMMAND")
    running = _Running(folder)
    with running.heeding():
        told = json.loads(commands.drill(folder, ["job", "start", json.dumps(asdict(wish))]))
        running.number = str(told["id"])
        print(f"juniper: job {running.number} ({wish.name}) runs", file=sys.stderr, flush=True)
        home = Path(tempfile.mkdtemp(prefix="juniper-job-"))
        try:
            return running.wait_for(command, _environment(folder, home, told["variables"]))
        finally:
            running.end()
            shutil.rmtree(home, ignore_errors=True)


def cancel(folder: Folder, number: str) -> str:
    """Cancel a job; what runs in it is ended by who runs it."""
    return commands.drill(folder, ["job", "cancel", number])


def _environment(folder: Folder, home: Path, variables: Mapping[str, str]) -> dict[str, str]:
    theirs = os.environ.get("PATH", os.defpath)
    return {
        **variables,
        "PATH": f"{program('juniper').parent}{os.pathsep}{theirs}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "JUNIPER_CONFIG": str(folder / JOB),
        "CI_SERVER_TLS_CA_FILE": str(folder / "ca.pem"),
        # An SDK without credentials asks the cloud's own address for some, and this machine is in no cloud.
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@dataclass(slots=True)
class _Running:
    """One job under way, and how it ends at GitLab."""

    folder: Folder
    number: str = ""
    status: str = "canceled"
    _child: subprocess.Popen[bytes] | None = None
    _given: list[int] = field(default_factory=list)

    @contextmanager
    def heeding(self) -> Iterator[None]:
        """Signals end the command and cancel the job, from before there is either."""

        def stop(number: int, _frame: object) -> None:
            self._given.append(number)
            if self._child is not None:
                _tell(self._child, signal.SIGTERM)

        before = {number: signal.signal(number, stop) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def wait_for(self, command: Sequence[str], environ: Mapping[str, str]) -> int:
        """Run the command to its end, or to that of the job."""
        try:
            # A session of its own: a job has no terminal, and what it started ends with it.
            self._child = subprocess.Popen(command, env=dict(environ), stdin=subprocess.DEVNULL, start_new_session=True)
        except OSError as error:
            self.status = "failed"
            raise SandboxError(f"{command[0]} cannot be run ({error.strerror}); name a program on PATH") from None
        try:
            return self._status(self._wait(self._child))
        finally:
            _end(self._child)

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        while not self._given:
            with suppress(subprocess.TimeoutExpired):
                return child.wait(LOOK)
            if not self._given and commands.drill(self.folder, ["job", "look", self.number]) != "running":
                print(f"juniper: job {self.number} was ended by GitLab", file=sys.stderr)
                return CANCELED
        _end(child)
        return child.wait()

    def _status(self, status: int) -> int:
        if self._given:
            return 128 + self._given[0]
        self.status = "success" if status == 0 else "failed"
        return status if status >= 0 else 128 - status

    def end(self) -> None:
        """Say at GitLab how it ended; one that ended there before stays as it is."""
        with suppress(SandboxError):
            commands.drill(self.folder, ["job", "end", self.number, self.status])


def _tell(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End what still runs, by force where it does not end by itself."""
    _tell(child, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
        return
    _tell(child, signal.SIGKILL)
    child.wait()
