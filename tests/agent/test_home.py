"""Homes and logins: a slow disk holds up nobody who is served from memory, two logins are two agents, a logout ends one."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.requirements import require_peer

from .doubles import Doubles
from .harness import speak
from .test_process import CONFIG, DAEMON, ask
from .test_upgrade import Installed, now, soon

__all__ = ["now"]
PATIENCE = 20.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's")


def traced(*options: str) -> list[str]:
    """The agent's command under ``strace``."""
    return [shutil.which("strace") or require_peer("strace", "Debian has it in the package strace"), *options, *DAEMON]


@contextmanager
def agent(folder: Path, command: list[str], world: Doubles, store: str) -> Iterator[subprocess.Popen[bytes]]:
    """An agent whose home is ``folder``, before ``world``."""
    text = f'version = 1\nsandbox = true\n[issuer.team]\nurl = "{world.issuer.url}"\nidp = "{world.idp.url}"\n'
    (folder / "juniper.toml").write_text(f'{text}[store]\nkind = "{store}"\n')
    env = {
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "JUNIPER_SOCKET": str(folder / "agent.sock"),
        "JUNIPER_CONFIG": str(folder / "juniper.toml"),
    }
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_a_warm_request_touches_no_file_at_all(now: Doubles, folder: Path) -> None:
    trace = folder / "trace"
    command = traced("-f", "-qq", "-s", "300", "-e", "trace=%file,write", "-o", str(trace))
    with agent(folder, command, now, "memory"):
        path = folder / "agent.sock"
        await soon(path, lambda status: status["agent"])
        assert (await speak(path, "juniper", "login")).status == 0
        assert (await speak(path, "juniper-aws", "--scope", "archive")).status == 0
        # A scope that is not warm yet leaves a line in the agent's log, which shows in the trace.
        await speak(path, "juniper-aws", "--scope", "begin-of-warm")
        answers = [await speak(path, "juniper-aws", "--scope", "archive") for _ in range(20)]
        await speak(path, "juniper-aws", "--scope", "end-of-warm")
        await speak(path, "juniper", "down")
    assert {answer.status for answer in answers} == {0}
    text = trace.read_text()
    main = text.split(" ", 1)[0]
    begin, end = (
        re.search(rf'^{main} +write\(2, .*\\"{name}-of-warm\\"', text, re.MULTILINE) for name in ("begin", "end")
    )
    assert begin is not None
    assert end is not None
    between = [line for line in text[begin.end() : end.start()].splitlines() if line.startswith(main)]
    # The last caller is not warm, and what is noted of it is its program, which /proc tells.
    assert [line for line in between if "/proc/" not in line and "write(2" not in line and "write(" not in line] == []


async def test_a_home_on_a_slow_disk_holds_up_only_what_needs_it(now: Doubles, folder: Path) -> None:
    """Each open of the lock that agents of one person take in turn lasts three seconds, for the kernel's own part."""
    lock = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local/state/juniper/sign-in.lock"
    slow = ("-f", "-qq", "-o", "/dev/null", "-P", str(lock), "-e", "inject=openat:delay_enter=3000000")
    with agent(folder, traced(*slow), now, "keyring"):
        path = folder / "agent.sock"
        await soon(path, lambda status: status["agent"])
        began = time.monotonic()
        login = asyncio.create_task(speak(path, "juniper", "login"))
        times: list[float] = []
        while not login.done():
            asked = time.monotonic()
            assert (await speak(path, "juniper", "ping")).status == 0
            times.append(time.monotonic() - asked)
        assert (await login).status == 0, (await login).stderr
        assert time.monotonic() - began > 2.5, "the disk is slow indeed"
        assert max(times) < 2.5
        await speak(path, "juniper", "down")


def test_two_logins_of_one_person_are_two_agents_at_two_doors(folder: Path) -> None:
    """A desktop has XDG_RUNTIME_DIR, an ssh session may not."""
    (folder / "config" / "juniper").mkdir(parents=True)
    (folder / "config" / "juniper" / "juniper.toml").write_text(CONFIG)
    (folder / "run").mkdir(mode=0o700)
    ssh = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), "PATH": os.environ["PATH"]}
    desktop = {**ssh, "XDG_RUNTIME_DIR": str(folder / "run")}
    doors = [folder / ".local/state/juniper/run", folder / "run" / "juniper"]
    started = [subprocess.Popen(DAEMON, env=env, stderr=subprocess.DEVNULL) for env in (ssh, desktop)]
    try:
        pids = [json.loads(ask(door, b"juniper", b"ping")[6:].split(b"\n")[0])["pid"] for door in doors]
        assert pids == [process.pid for process in started]
        again = [subprocess.run(DAEMON, env=env, timeout=PATIENCE, check=False) for env in (ssh, desktop)]
        assert [done.returncode for done in again] == [0, 0]
        assert [door.stat().st_mode & 0o777 for door in doors] == [0o700, 0o700]
        ask(doors[0], b"juniper", b"down")
        assert started[0].wait(timeout=PATIENCE) == 0
        assert b"result" in ask(doors[1], b"juniper", b"ping")
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_logout_that_takes_the_folder_away_ends_its_agent(folder: Path) -> None:
    (folder / "juniper.toml").write_text(CONFIG)
    installed = Installed(folder)
    installed.change("agent.py", "LOOK_AT_DOOR = 60.0", "LOOK_AT_DOOR = 0.05")
    (folder / "run").mkdir(mode=0o700)
    with installed.running(JUNIPER_SOCKET=str(folder / "run" / "agent.sock")) as process:
        ask(folder / "run", b"juniper", b"ping")
        shutil.rmtree(folder / "run")
        _out, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert [json.loads(line)["event"] for line in log.splitlines()] == ["started", "unreachable", "stopped"]
