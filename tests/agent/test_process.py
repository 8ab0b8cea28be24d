"""``juniperd`` as a process: it hardens itself, says what it lacks, gives way to the first, and ends when told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from juniperd import process, wire
from juniperd.errors import ProtocolError, StateError

CONFIG = """version = 1
[issuer.team]
url = "https://127.0.0.1:1"
idp = "https://127.0.0.1:2"
[store]
kind = "memory"
"""
DAEMON = [sys.executable, "-c", "import sys; from juniperd.app import run_agent; sys.exit(run_agent())"]


def environment(folder: Path, **extra: str) -> dict[str, str]:
    return {
        "HOME": str(folder),
        "JUNIPER_SOCKET": str(folder / "agent.sock"),
        "JUNIPER_CONFIG": str(folder / "juniper.toml"),
        "PATH": os.environ["PATH"],
        **extra,
    }


@contextmanager
def daemon(folder: Path, **extra: str) -> Iterator[subprocess.Popen[str]]:
    env = environment(folder, **extra)
    process = subprocess.Popen(DAEMON, env=env, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(folder: Path, *argv: bytes, within: float = 20.0) -> bytes:
    """The raw answer, as soon as somebody listens."""
    deadline = time.monotonic() + within
    while True:
        with socket.socket(socket.AF_UNIX) as caller:
            try:
                caller.connect(str(folder / "agent.sock"))
            except OSError:
                if time.monotonic() > deadline:
                    raise
                os.sched_yield()
                continue
            caller.settimeout(within)
            caller.sendall(wire.encode_request(wire.Request(argv)))
            answer = b""
            while data := caller.recv(65536):
                answer += data
            return answer


@pytest.fixture
def configured(folder: Path) -> Path:
    (folder / "juniper.toml").write_text(CONFIG)
    return folder


def test_it_answers_ends_on_sigterm_and_leaves_no_socket(configured: Path) -> None:
    with daemon(configured) as process:
        assert b'"event": "result"' in ask(configured, b"juniper", b"ping")
        process.send_signal(signal.SIGTERM)
        _out, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert not (configured / "agent.sock").exists()
    assert [json.loads(line)["event"] for line in log.splitlines()] == ["started", "stopped"]


def test_the_second_starter_ends_quietly_and_the_first_goes_on(configured: Path) -> None:
    with daemon(configured):
        ask(configured, b"juniper", b"ping")
        second = subprocess.run(
            DAEMON, env=environment(configured), capture_output=True, text=True, timeout=20, check=False
        )
        assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
        assert b"result" in ask(configured, b"juniper", b"ping")


def test_ten_starters_are_one_agent(configured: Path) -> None:
    env = environment(configured)
    started = [subprocess.Popen(DAEMON, env=env, stderr=subprocess.DEVNULL) for _ in range(10)]
    try:
        ask(configured, b"juniper", b"ping")
        deadline = time.monotonic() + 20
        while sum(process.poll() is None for process in started) > 1 and time.monotonic() < deadline:
            os.sched_yield()
        assert sorted(process.poll() is None for process in started) == [False] * 9 + [True]
        assert {process.returncode for process in started if process.returncode is not None} == {0}
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_one_that_was_killed_leaves_a_socket_that_the_next_replaces(configured: Path) -> None:
    with daemon(configured) as process:
        ask(configured, b"juniper", b"ping")
        process.kill()
        process.wait()
        assert (configured / "agent.sock").exists()
    with daemon(configured):
        assert b"result" in ask(configured, b"juniper", b"ping")


def test_without_a_configuration_it_says_so_to_the_tool_and_goes(folder: Path) -> None:
    with daemon(folder) as process:
        answer = ask(folder, b"juniper-aws", b"--scope", b"archive")
        assert b"juniper-aws: no configuration at " in answer
        assert b"; run: juniper setup https://your-issuer\n" in answer
        assert process.wait(timeout=20) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_its_memory_is_nobodys_business() -> None:
    program = (
        "import ctypes, os, resource\n"
        "from juniperd.process import harden\n"
        "harden()\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "0 (0, 0) 0o77\n"


def test_its_environment_steers_no_library() -> None:
    program = (
        "import os\nfrom juniperd.process import scrub_environment\nscrub_environment()\nprint(sorted(os.environ))"
    )
    hostile = dict.fromkeys(("AWS_PROFILE", "HTTPS_PROXY", "https_proxy", "SSLKEYLOGFILE", "BOTO_CONFIG"), "x")
    kept = {"HOME": "/nowhere", "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": "/x", "JUNIPER_SOCKET": "/y"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**kept, **hostile}
    )
    assert not any(name in done.stdout for name in hostile)
    assert all(name in done.stdout for name in kept)


# --- of a job ---------------------------------------------------------------------------------------------------------


def test_the_first_agent_of_a_job_makes_its_key_and_the_others_use_it(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    first = process._key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert process._key(path).kid == first.kid
    assert [one.name for one in tmp_path.iterdir()] == ["key.pem"], "no draft is left"


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_is_none_is_told_with_its_folder(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(StateError, match=f"cannot be used .*; run: rm -r {tmp_path}"):
        process._key(tmp_path / "key.pem")


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"{}", b"[]", b'{"token": "t"}', b'{"key_file": "/k"}', b"\xff", b'"t"', b"null"]
)
def test_an_agent_of_a_job_that_is_told_no_job_serves_nobody(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="no job's token came on standard input; run: juniper ci -- COMMAND"):
        process._job(line)


def test_what_an_agent_of_a_job_is_told(tmp_path: Path) -> None:
    said = {"token": "e30.e30.c2ln", "key_file": str(tmp_path / "key.pem")}
    subject = process._job(json.dumps(said).encode() + b"\n")
    assert (subject.token.reveal(), subject.key.kid) == ("e30.e30.c2ln", process._key(tmp_path / "key.pem").kid)
