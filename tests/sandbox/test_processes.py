"""The sandbox as processes: up, env, drills, down. The doubles alone here; `test_whole.py` has issuer and agent too."""

from __future__ import annotations

import json
import os
import re
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from juniperd.sandbox.processes import Process, end

pytestmark = pytest.mark.e2e
DOUBLES = ("--without", "issuer,minter,agent")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def sandbox(*words: str, timeout: float = 60, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "juniperd.sandbox.cli", *words]
    environment = {"PATH": os.defpath, "HOME": "/nonexistent"} | variables
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=environment, check=False, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose sandbox is gone after the test, however it went."""
    place = tmp_path / "shop"
    yield place
    assert sandbox("down", "--dir", str(place)).returncode == 0
    assert not place.exists()


def note(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "sandbox.json").read_text())
    return found


def processes(folder: Path) -> list[Process]:
    return [Process(**row) for row in json.loads((folder / "sandbox.json").read_text())["processes"]]


def test_up_env_drill_down(folder: Path, tmp_path: Path) -> None:
    up = sandbox("up", "--dir", str(folder), "--json", *DOUBLES, XDG_RUNTIME_DIR="")
    assert (up.returncode, up.stderr) == (0, "")
    assert json.loads(up.stdout) == note(folder)
    run_dir, running = Path(str(note(folder)["run_dir"])), processes(folder)
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
    assert len(os.fsencode(run_dir / "agent.sock")) <= 107
    assert all(process.runs() for process in running)

    lines = sandbox("env", "--dir", str(folder)).stdout.splitlines()
    assert all(re.fullmatch(r"export [A-Z0-9_]+='[A-Za-z0-9/_.+,:@-]*'", line) for line in lines)
    exported = dict(line.removeprefix("export ").replace("'", "").split("=", 1) for line in lines)
    assert exported["AWS_PROFILE"] == "invoice-archive-writer"
    assert exported["JUNIPER_SOCKET"] == str(run_dir / "agent.sock")
    assert all(value.startswith(str(folder)) for name, value in exported.items() if name.startswith("XDG_"))

    drill = sandbox("idp", "--dir", str(folder), "--as", "maintainer")
    assert (drill.returncode, drill.stdout) == (0, "every sign-in is approved as maintainer\n")
    wrong = sandbox("gitlab", "--dir", str(folder), "block", "nobody")
    assert (wrong.returncode, wrong.stderr) == (1, "juniper: no user nobody in this sandbox\n")

    assert sandbox("down", "--dir", str(folder)).stdout == f"the sandbox in {folder} is gone\n"
    assert not any(process.runs() for process in running)
    assert not run_dir.exists()
    assert list(tmp_path.iterdir()) == []
    assert sandbox("down", "--dir", str(folder)).returncode == 0


def test_files_are_private(folder: Path) -> None:
    assert sandbox("up", "--dir", str(folder), *DOUBLES).returncode == 0
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert 'kind = "memory"' in (folder / "juniper.toml").read_text()


def test_nothing_of_the_caller_is_held(folder: Path) -> None:
    """A pipe that the caller opened reaches its end although the sandbox runs on."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    command = [sys.executable, "-m", "juniperd.sandbox.cli", "up", "--dir", str(folder), *DOUBLES]
    child = subprocess.Popen(command, stdout=writing, stderr=writing, stdin=subprocess.DEVNULL, close_fds=False)
    os.close(writing)
    with os.fdopen(reading) as out:
        assert "the sandbox is up" in out.read()
    assert child.wait() == 0
    supervisor = processes(folder)[0]
    assert supervisor.runs()
    assert os.getsid(supervisor.pid) == supervisor.pid


def test_two_at_once(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    try:
        assert sandbox("up", "--dir", str(folder), *DOUBLES).returncode == 0
        assert sandbox("up", "--dir", str(other), *DOUBLES).returncode == 0
        assert note(folder)["urls"] != note(other)["urls"]
        assert sandbox("down", "--dir", str(other)).returncode == 0
        assert processes(folder)[0].runs()
    finally:
        sandbox("down", "--dir", str(other))


def test_a_folder_in_use_is_refused(folder: Path, tmp_path: Path) -> None:
    assert sandbox("up", "--dir", str(folder), *DOUBLES).returncode == 0
    again = sandbox("up", "--dir", str(folder), *DOUBLES)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert f"juniper sandbox down --dir {folder}" in again.stderr
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "mine").write_text("keep")
    assert "is not empty" in sandbox("up", "--dir", str(strange), *DOUBLES).stderr
    assert "no sandbox's folder" in sandbox("down", "--dir", str(strange)).stderr
    assert (strange / "mine").read_text() == "keep"
    assert "characters" in sandbox("up", "--dir", str(tmp_path / "a b"), *DOUBLES).stderr


def test_down_after_the_supervisor_was_killed(folder: Path) -> None:
    assert sandbox("up", "--dir", str(folder), *DOUBLES).returncode == 0
    end(processes(folder)[:1], limit=0.0)
    run_dir = Path(str(note(folder)["run_dir"]))
    assert "does not answer" in sandbox("idp", "--dir", str(folder), "--ask").stderr
    assert sandbox("down", "--dir", str(folder)).returncode == 0
    assert not run_dir.exists()


def test_without_a_sandbox(tmp_path: Path) -> None:
    for words in (("env",), ("idp", "--ask"), ("gitlab", "heal")):
        answer = sandbox(words[0], "--dir", str(tmp_path / "none"), *words[1:])
        assert (answer.returncode, "juniper sandbox up --dir" in answer.stderr) == (1, True)


def test_an_up_that_is_interrupted_leaves_no_process(folder: Path) -> None:
    command = [sys.executable, "-m", "juniperd.sandbox.cli", "up", "--dir", str(folder), *DOUBLES]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not (folder / "sandbox.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    running = processes(folder)
    child.terminate()
    child.wait()
    assert sandbox("down", "--dir", str(folder)).returncode == 0
    assert not any(process.runs() for process in running)


def test_a_pid_used_again_is_not_ours() -> None:
    me = Process.of("me", os.getpid())
    assert me.runs()
    assert not Process("somebody", me.pid, "0").runs()
    assert end([Process("somebody", me.pid, "0")]) == []


def test_up_with_the_link_page(folder: Path) -> None:
    up = sandbox("up", "--dir", str(folder), "--json", "--link-page", "--without", "minter,agent", XDG_RUNTIME_DIR="")
    assert (up.returncode, up.stderr) == (0, "")
    urls = json.loads(up.stdout)["urls"]
    tls = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    with urllib.request.urlopen(f"{urls['issuer_api']}/link", context=tls, timeout=20) as page:
        assert b"Begin with Sandbox sign-in" in page.read()
    assert stat.S_IMODE((folder / "gitlab.secret").stat().st_mode) == 0o600
