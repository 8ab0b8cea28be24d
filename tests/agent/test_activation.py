"""A socket that systemd made: used as it is, never unlinked, and refused where others could use it too."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.requirements import require_peer

from .doubles import Doubles
from .harness import speak
from .manager import Manager, heard, knock
from .test_process import CONFIG, DAEMON, environment
from .test_upgrade import NEW, Installed, configure, now, soon

__all__ = ["now"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
HELPER, JUNIPERD = (str(Path(sys.executable).with_name(name)) for name in ("juniper-aws", "juniperd"))
PATIENCE = 20.0


@pytest.fixture
def configured(folder: Path) -> Path:
    (folder / "juniper.toml").write_text(CONFIG)
    return folder


def program(name: str) -> str:
    found = shutil.which(name)
    return found or require_peer(name, "Debian has it in the package systemd")


# --- systemd's own programs -------------------------------------------------------------------------------------------


@contextmanager
def activator(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """``systemd-socket-activate`` listening; it becomes juniperd when the first caller comes."""
    env = environment(folder)
    set_there = [f"--setenv={name}" for name in ("JUNIPER_SOCKET", "JUNIPER_CONFIG")]
    command = [program("systemd-socket-activate"), f"--listen={folder}/agent.sock", *set_there, *options, JUNIPERD]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert "Listening on" in process.stderr.readline()
            yield process
        finally:
            process.kill()


def events(log: str) -> list[str]:
    return [json.loads(line)["event"] for line in log.splitlines() if line.startswith("{")]


def test_the_helper_wakes_an_agent_that_systemd_listens_for(configured: Path) -> None:
    with activator(configured, "--fdname=anything") as process:
        (configured / "agent.sock").chmod(0o600)
        done = subprocess.run(
            [HELPER, "--scope", "archive"],
            env={"JUNIPER_SOCKET": str(configured / "agent.sock")},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert "nobody is signed in; run: juniper login" in done.stderr
        process.send_signal(signal.SIGTERM)
        _out, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert events(log) == ["started", "answered", "stopped"]
    assert (configured / "agent.sock").is_socket(), "systemd made it"


def test_a_socket_that_systemd_made_for_everybody_is_refused_with_the_cure(configured: Path) -> None:
    """Without a unit the mode is what ``systemd-socket-activate`` chooses: 0644."""
    with activator(configured) as process:
        assert (configured / "agent.sock").stat().st_mode & 0o777 == 0o644
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(configured / "agent.sock"))
            _out, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 73
    assert log.endswith("agent.sock is open to other users; set SocketMode=0600 in juniperd.socket\n")
    assert (configured / "agent.sock").is_socket()


@pytest.fixture
def home(folder: Path) -> Path:
    """A home in which juniperd lies where the unit names it."""
    there = folder / ".local" / "bin" / "juniperd"
    there.parent.mkdir(parents=True)
    there.symlink_to("/bin/true")
    for unit in UNITS.iterdir():
        shutil.copy(unit, folder)
    return folder


def analyze(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("systemd-analyze"), "--user", *arguments],
        env={"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PATH": os.environ["PATH"]},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_systemd_finds_nothing_wrong_with_the_units(home: Path) -> None:
    checked = analyze(home, "verify", "./juniperd.socket", "./juniperd.service")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_sandbox_of_the_unit_is_what_a_user_manager_can_keep(home: Path) -> None:
    checked = analyze(home, "security", "--offline=true", "--json=short", "./juniperd.service")
    found: Any = {row["json_field"]: row for row in json.loads(checked.stdout)}
    kept = (
        "NoNewPrivileges",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "LockPersonality",
        "RestrictNamespaces_user",
        "SystemCallFilter_privileged",
        "RestrictAddressFamilies_AF_PACKET",
        "UMask",
    )
    assert {name: found[name]["set"] for name in kept} == dict.fromkeys(kept, True)


async def test_the_unit_lets_the_agent_do_all_that_it_does(folder: Path, now: Doubles) -> None:
    """Its system calls and address families, from start through a lease and an upgrade to its end."""
    allowed = allowed_calls()
    installed = Installed(folder)
    configure(installed, now, "memory")
    trace, path = folder / "trace", folder / "agent.sock"
    with installed.running(program("strace"), "-f", "-qq", "-o", str(trace)):
        await soon(path, lambda status: status["agent"])
        assert (await speak(path, "juniper", "login")).status == 0
        assert (await speak(path, "juniper-aws", "--scope", "archive")).status == 0
        assert (await speak(path, "juniper", "logout")).status == 0
        installed.upgrade()
        await soon(path, lambda status: status["agent"]["version"] == NEW)
        await speak(path, "juniper", "down")
    text = trace.read_text()
    used = set(re.findall(r"^\d+ +([a-z_0-9]+)\(", text, re.MULTILINE))
    assert {"execve", "accept4", "connect", "flock", "prctl"} <= used
    assert used - allowed == set()
    families = set(re.findall(r"socket\((AF_[A-Z0-9]+)", text))
    assert families - {"AF_UNIX", "AF_INET", "AF_INET6"} <= {"AF_NETLINK"}, "glibc does without AF_NETLINK"


def allowed_calls() -> set[str]:
    """What ``SystemCallFilter=`` of the unit leaves, by systemd's own tables."""
    lines = re.findall(r"^SystemCallFilter=(~?)(\S+)$", (UNITS / "juniperd.service").read_text(), re.MULTILINE)
    allowed = calls_of("@default")
    for takes_away, group in lines:
        allowed = allowed - calls_of(group) if takes_away else allowed | calls_of(group)
    return allowed


def calls_of(group: str) -> set[str]:
    """The calls of a group, groups in it included."""
    listed = subprocess.run(
        [program("systemd-analyze"), "syscall-filter", group], capture_output=True, text=True, timeout=20, check=True
    )
    words = [line.strip() for line in listed.stdout.splitlines()[1:]]
    names = {word for word in words if word and not word.startswith(("#", "@"))}
    return names.union(*(calls_of(word) for word in words if word.startswith("@")))


# --- a stand-in for the user manager ----------------------------------------------------------------------------------


@pytest.fixture
def manager(configured: Path) -> Iterator[Manager]:
    made = Manager(configured)
    yield made
    made.close()


def test_it_tells_the_manager_when_it_answers_and_only_then(manager: Manager) -> None:
    caller = knock(manager, b"juniper", b"status")
    manager.start_when_asked()
    assert manager.notices.recv(100) == b"READY=1"
    status = json.loads(heard(caller).split(b"\n")[0][6:])
    assert status["agent"]["socket"] == str(manager.path)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_who_knocks_after_its_end_is_served_by_the_next_one(manager: Manager, end: signal.Signals) -> None:
    first = knock(manager, b"juniper", b"ping")
    service = manager.start_when_asked()
    assert b"result" in heard(first)
    made = manager.path.stat().st_ino
    service.send_signal(end)
    service.wait(timeout=PATIENCE)
    assert manager.path.stat().st_ino == made
    second = knock(manager, b"juniper", b"ping")
    assert manager.start_when_asked().pid != service.pid
    assert b"result" in heard(second)


def test_down_ends_the_service_and_leaves_the_socket(manager: Manager) -> None:
    caller = knock(manager, b"juniper", b"down")
    service = manager.start_when_asked()
    assert b"result" in heard(caller)
    assert service.wait(timeout=PATIENCE) == 0
    assert manager.path.is_socket()


def test_an_agent_started_by_hand_gives_way_to_the_managers_socket(manager: Manager) -> None:
    """The path is taken: it connects, which wakes the service, and ends."""
    env = environment(manager.folder)
    by_hand = subprocess.Popen(DAEMON, env=env, stderr=subprocess.DEVNULL)
    manager.start_when_asked()
    assert by_hand.wait(timeout=PATIENCE) == 0
    assert b"result" in heard(knock(manager, b"juniper", b"ping"))
