"""A stand-in for the user manager of systemd, since none runs where tests run."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from pathlib import Path

from juniperd import wire

from .test_process import DAEMON, environment

PATIENCE = 20.0


class Manager:
    """Holds the socket and starts the service when somebody knocks and it does not run.

    No manager of a user's runs in a test; this one does the part of it that the agent sees: sd_listen_fds(3), a socket
    that outlives the service, a start for each time that somebody waits, and ``NOTIFY_SOCKET``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "agent.sock"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.path))
        self.path.chmod(0o600)
        self.socket.listen(512)
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(str(folder / "notify"))
        self.notices.settimeout(PATIENCE)
        self.service: subprocess.Popen[bytes] | None = None

    def start_when_asked(self, *command: str) -> subprocess.Popen[bytes]:
        """Wait for a caller, then start the service with its environment of this manager's."""
        assert select.select([self.socket], [], [], PATIENCE)[0]
        env = environment(self.folder, NOTIFY_SOCKET=str(self.folder / "notify"))
        del env["JUNIPER_SOCKET"]
        become = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        become += "os.environ.update(LISTEN_FDS='1', LISTEN_FDNAMES='juniperd.socket'); "
        become += "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
        self.service = subprocess.Popen(
            [sys.executable, "-c", become, str(self.socket.fileno()), *(command or DAEMON[1:])],
            env=env,
            pass_fds=(self.socket.fileno(),),
        )
        return self.service

    def close(self) -> None:
        if self.service is not None:
            self.service.kill()
            self.service.wait()
        self.socket.close()
        self.notices.close()


def knock(manager: Manager, *argv: bytes) -> socket.socket:
    """A caller who asked and waits for the answer."""
    caller = socket.socket(socket.AF_UNIX)
    caller.settimeout(PATIENCE)
    caller.connect(str(manager.path))
    caller.sendall(wire.encode_request(wire.Request(argv)))
    return caller


def heard(caller: socket.socket) -> bytes:
    with caller:
        answer = b""
        while data := caller.recv(65536):
            answer += data
    return answer
