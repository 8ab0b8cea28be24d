"""A user manager that holds the socket unit, and a ``systemctl`` that speaks to it: stand-ins, since no systemd runs here.

``systemctl --user`` takes the arguments that the real one takes of us, and answers with its words and exit statuses
(systemctl(1), "EXIT STATUS"); what it does not know it refuses.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path

JUNIPERD = Path(sys.executable).with_name("juniperd")
SOCKET, SERVICE = "juniperd.socket", "juniperd.service"
PATIENCE = 20.0
SYSTEMCTL = """#!{python} -IS
import json, os, socket, sys
manager = socket.socket(socket.AF_UNIX)
manager.connect(os.environ["XDG_RUNTIME_DIR"] + "/systemd/private")
manager.sendall(json.dumps(sys.argv[1:]).encode())
manager.shutdown(socket.SHUT_WR)
status, out, err = json.loads(b"".join(iter(lambda: manager.recv(65536), b"")))
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""
BECOME = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="juniperd.socket")
os.execv(sys.argv[2], sys.argv[2:])
"""

Answer = tuple[int, str, str]


class UserManager:
    """One thread: answers ``systemctl``, and starts the service when somebody knocks."""

    def __init__(self, runtime: Path, bin_folder: Path, env: dict[str, str], *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.fails: str | None = None
        self.asked: list[list[str]] = []
        self.path = runtime / "juniper" / "agent.sock"
        self.service: subprocess.Popen[bytes] | None = None
        self._env = env
        self._listener: socket.socket | None = None
        self._pidfd = -1
        self._control = socket.socket(socket.AF_UNIX)
        (runtime / "systemd").mkdir()
        self._control.bind(str(runtime / "systemd" / "private"))
        self._control.listen()
        program = bin_folder / "systemctl"
        program.write_text(SYSTEMCTL.format(python=sys.executable))
        program.chmod(0o755)
        self._stopping, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def serves(self) -> bool:
        """Whether the service runs."""
        return self.service is not None

    def close(self) -> None:
        os.close(self._stop)
        self._thread.join()
        self._end_service()
        self._end_socket()
        self._control.close()
        os.close(self._stopping)

    def _run(self) -> None:
        while True:
            watched: list[socket.socket | int] = [self._control, self._stopping]
            if self.service is not None:
                watched.append(self._pidfd)
            elif self._listener is not None:
                watched.append(self._listener)
            ready = select.select(watched, [], [])[0]
            if self._stopping in ready:
                return
            if self._control in ready:
                self._serve()
            elif self.service is not None:
                self._end_service()
            else:
                self._start_service()

    def _serve(self) -> None:
        caller, _address = self._control.accept()
        with caller:
            arguments = json.loads(b"".join(iter(lambda: caller.recv(65536), b"")))
            self.asked.append(arguments)
            caller.sendall(json.dumps(self._answer(arguments)).encode())

    def _answer(self, arguments: list[str]) -> Answer:
        match arguments:
            case ["--user", "is-enabled", "juniperd.socket"]:
                return (0, "enabled\n", "") if self.enabled else (1, "disabled\n", "")
            case ["--user", "is-active", *units]:
                states = [self._state(unit) for unit in units]
                return 0 if "active" in states else 3, "".join(f"{state}\n" for state in states), ""
            case ["--user", "start" | "stop" as verb, unit] if self.fails is not None:
                return 1, "", f"Job for {unit} failed ({verb}): {self.fails}\n"
            case ["--user", "start", "juniperd.socket"]:
                self._start_socket()
                return 0, "", ""
            case ["--user", "stop", "juniperd.service"]:
                self._end_service()
                return 0, "", ""
        return self._changed(arguments)

    def _changed(self, arguments: list[str]) -> Answer:
        """What set-up asks for."""
        match arguments:
            case ["--user", "daemon-reload"]:
                return 0, "", ""
            case ["--user", "enable", *now, "juniperd.socket"] if now in ([], ["--now"]):
                self.enabled = True
                if now:
                    self._start_socket()
                return 0, "", ""
            case ["--user", "disable", "--now", "juniperd.socket", "juniperd.service"]:
                if not self._installed():
                    return 1, "", "Failed to disable unit: Unit file juniperd.socket does not exist.\n"
                self.enabled = False
                self._end_socket()
                self._end_service()
                return 0, "", ""
        return 1, "", f"Unknown command {arguments}.\n"

    def _installed(self) -> bool:
        return (Path(self._env["XDG_CONFIG_HOME"]) / "systemd/user" / SOCKET).exists()

    def _state(self, unit: str) -> str:
        running = {SOCKET: self._listener is not None, SERVICE: self.service is not None}
        return "active" if running[unit] else "inactive"

    def _start_socket(self) -> None:
        """As systemd does: what lies at the path gives way."""
        if self._listener is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.unlink(missing_ok=True)
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self.path))
            self.path.chmod(0o600)
            self._listener.listen(512)

    def _start_service(self) -> None:
        assert self._listener is not None
        number = self._listener.fileno()
        self.service = subprocess.Popen(
            [sys.executable, "-IS", "-c", BECOME, str(number), str(JUNIPERD)],
            env=self._env,
            pass_fds=(number,),
            stderr=subprocess.DEVNULL,
        )
        self._pidfd = os.pidfd_open(self.service.pid)

    def _end_service(self) -> None:
        if self.service is not None:
            self.service.terminate()
            self.service.wait(timeout=PATIENCE)
            os.close(self._pidfd)
            self.service = None

    def _end_socket(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
