"""Where no agent answers, the helper starts the juniperd that lies beside it: the right one, clean, and only one."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from .programs import NAME, PATIENCE, Helper, Outcome, ended, refusal

STUB = Path(__file__).parent / "stub_juniperd.py"
REAPER = Path(__file__).parent / "reaper.py"
STARTED = Outcome(0, b"started", b"")
STARTERS = 10
PYTHON_IGNORES = {signal.SIGPIPE, signal.SIGXFSZ}
"""Signals that the stub's own interpreter ignores, whoever starts it."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stub reads how it was started from /proc")


@dataclass(frozen=True, slots=True)
class Installed:
    """A helper with a stub of juniperd beside it, and an environment whose socket nobody serves yet."""

    helper: Helper
    env: dict[str, str]

    @property
    def bin(self) -> Path:
        """Where both lie."""
        return self.helper.path.parent

    @property
    def socket(self) -> Path:
        """Where the agent will listen."""
        return Path(self.env["XDG_RUNTIME_DIR"], "juniper", "agent.sock")

    def record(self) -> dict[str, object]:
        """What the stub wrote down, once it has ended."""
        self.wait()
        record: dict[str, object] = json.loads((self.bin / "record").read_text())
        return record

    def wait(self) -> None:
        """Until the stub that serves has ended: it holds the lock for its whole life."""
        with (self.bin / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)

    @property
    def was_started(self) -> bool:
        """Whether juniperd was ever run."""
        return (self.bin / "started").exists()


LIBRARYS_OWN = 1 << 31 | 1 << 32
"""Signals 32 and 33: the threads library's own. posix_spawn, which make uses, ignores them, and nobody may set them."""


@pytest.fixture
def installed(helper: Helper, folder: Path) -> Installed:
    """One call will be answered."""
    here = helper.copied_to(folder / "bin")
    put_stub(here.path.parent)
    env = {"HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(folder / "run"), "PATH": "/usr/bin:/bin"}
    return Installed(here, env)


def put_stub(folder: Path, *, calls: int = 1) -> None:
    """Puts an executable stub of juniperd into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "juniperd").write_text(f"#!{sys.executable} -IS\n{STUB.read_text()}")
    (folder / "juniperd").chmod(0o755)
    (folder / "calls").write_text(str(calls))


def test_it_starts_the_agent_and_asks_it(installed: Installed) -> None:
    assert installed.helper.run("--scope", "invoice-archive-writer", env=installed.env) == STARTED
    assert installed.record()["argv"] == [str(installed.bin / "juniperd")]


def test_the_agent_has_nothing_of_the_callers(installed: Installed) -> None:
    """Neither its descriptors, folder, session, mask and signals, nor its variables but five."""
    kept = {"USER": "developer", "LANG": "C.UTF-8", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere/bus"}
    taken = {"HTTPS_PROXY": "http://127.0.0.1:9", "XDG_CONFIG_HOME": "/nowhere", "HOMER": "x", "LD_PRELOAD": ""}
    inherited, other_end = os.pipe()
    call = installed.helper.start(
        env=installed.env | kept | taken,
        stdin=subprocess.PIPE,
        pass_fds=(inherited, other_end),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        umask=0o002,
        cwd=installed.bin,
    )
    assert ended(call) == STARTED
    os.close(inherited)
    os.close(other_end)
    record = installed.record()
    assert record["descriptors"] == dict.fromkeys("012", "/dev/null")
    assert isinstance(record["environment"], list)
    own = {"HOME": installed.env["HOME"], "XDG_RUNTIME_DIR": installed.env["XDG_RUNTIME_DIR"]}
    assert sorted(record["environment"]) == sorted(f"{name}={value}" for name, value in (own | kept).items())
    assert (record["folder"], record["umask"]) == ("/", 0o077)
    assert record["session"] not in {os.getsid(0), 0}
    assert record["parent"] not in {os.getpid(), call.pid}
    assert isinstance(record["ignored"], int)
    assert record["ignored"] & ~LIBRARYS_OWN == sum(1 << (number - 1) for number in PYTHON_IGNORES)
    assert record["blocked"] == 0


def test_the_helper_is_not_held_by_its_agent(installed: Installed) -> None:
    """Its streams are at their end while the agent lives on: here one call more is answered."""
    (installed.bin / "calls").write_text("2")
    assert installed.helper.run(env=installed.env) == STARTED
    assert installed.socket.is_socket()
    assert installed.helper.run(env=installed.env) == STARTED
    installed.wait()


def test_ten_starters_get_one_agent(installed: Installed) -> None:
    (installed.bin / "calls").write_text(str(STARTERS))
    command = [sys.executable, "-I", str(REAPER), str(STARTERS), str(installed.helper.path)]
    reaped = subprocess.run(command, env=installed.env, capture_output=True, timeout=PATIENCE, check=True)
    assert json.loads(reaped.stdout) == [[0, "started", ""]] * STARTERS
    assert len((installed.bin / "served").read_text().splitlines()) == 1


def test_a_caller_that_ignores_its_children_is_served(installed: Installed) -> None:
    call = installed.helper.start(env=installed.env, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert ended(call) == STARTED
    installed.wait()


def test_a_link_starts_what_lies_beside_the_real_file(installed: Installed, folder: Path) -> None:
    put_stub(folder / "elsewhere")
    link = folder / "elsewhere" / NAME
    link.symlink_to(installed.helper.path)
    assert Helper(installed.helper.form, link).run(env=installed.env) == STARTED
    assert installed.record()["argv"] == [str(installed.bin / "juniperd")]
    assert not (folder / "elsewhere" / "started").exists()


def test_a_stale_socket_counts_as_no_agent(installed: Installed) -> None:
    installed.socket.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(installed.socket))
    assert installed.helper.run(env=installed.env) == STARTED
    installed.wait()


@pytest.mark.parametrize("setting", ["JUNIPER_SOCKET", "JUNIPER_CONFIG"])
def test_who_chose_socket_or_configuration_runs_the_agent(installed: Installed, folder: Path, setting: str) -> None:
    chosen = {setting: str(folder / "chosen")}
    where = folder / "chosen" if setting == "JUNIPER_SOCKET" else installed.socket
    assert installed.helper.run(env=installed.env | chosen) == refusal(f"no agent answers at {where}; run: juniper up")
    assert not installed.was_started


def test_a_dead_session_starts_nothing(installed: Installed, folder: Path) -> None:
    env = installed.env | {"JUNIPER_SESSION_SOCKET": str(folder / "session.sock")}
    assert installed.helper.run(env=env) == refusal("the session has ended; run: juniper session open")
    assert not installed.was_started


@pytest.mark.parametrize("beside", ["nothing", "folder", "not-executable"])
def test_a_juniperd_from_path_is_never_started(installed: Installed, folder: Path, beside: str) -> None:
    put_stub(folder / "path")
    program = installed.bin / "juniperd"
    if beside == "not-executable":
        program.chmod(0o644)
    else:
        program.unlink()
    if beside == "folder":
        program.mkdir()
    outcome = installed.helper.run(env=installed.env | {"PATH": str(folder / "path")}, cwd=folder / "path")
    what = f"no agent answers at {installed.socket} and no juniperd lies beside this helper"
    assert outcome == refusal(f"{what}; run: juniper up")
    assert not (folder / "path" / "started").exists()
