"""Sandboxes come and go: two at once, down twice, nothing of the person's own touched, nothing left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from juniperd.sandbox.processes import Process

from .company import BIN, BUCKET, Company, company, done, run

pytestmark = pytest.mark.e2e
OWN_FILES = (".aws/config", ".aws/credentials", ".config/juniper/juniper.toml", ".local/state/juniper/run/agent.sock")


def test_two_at_once_know_nothing_of_each_other(shop: Company, place: Path) -> None:
    beside = place / "beside"
    beside.mkdir(mode=0o700)
    with company(beside) as other:
        assert other.helper().line == "juniper-aws: nobody is signed in; run: juniper login"
        other.sign_in("maintainer")
        other.aws("s3", "cp", "-", f"s3://{BUCKET}/of-the-other", stdin=b"theirs").good()
        absent = shop.aws("s3", "cp", f"s3://{BUCKET}/of-the-other", "-")
        assert absent.status != 0
        assert "404" in absent.stderr
        assert [decision["user_login"] for decision in other.decisions()] == ["maintainer"]
        assert not {str(record["id"]) for record in other.decisions()} & {
            str(record["id"]) for record in shop.decisions()
        }
        ours = {process.pid for process in shop.processes}
        assert not ours & {process.pid for process in other.processes}
        running, sockets = other.processes, other.run_dir
    assert not [process for process in running if process.runs()]
    assert not sockets.exists()
    assert all(process.runs() for process in shop.processes if process.name != "agent")
    shop.helper().good()


def test_down_twice_and_for_nothing(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PATH": os.defpath}
    for _ in range(2):
        said = done(run(("juniper", "sandbox", "down", "--dir", str(tmp_path / "none")), env))
        assert (said.status, said.stdout, said.stderr) == (0, f"no sandbox in {tmp_path / 'none'}\n", "")


def test_a_persons_own_files_are_neither_read_nor_written(shop: Company) -> None:
    """Each holds what would break the command if it were read."""
    home = Path(shop.env["HOME"])
    for name in OWN_FILES:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[this is no configuration\n")
    try:
        before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in home.rglob("*")}
        shop.aws("sts", "get-caller-identity").good()
        shop.juniper("status").good()
        shop.juniper("login").good()
        assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in home.rglob("*")} == before
    finally:
        for path in sorted(home.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def test_an_agent_started_since_ends_with_its_sandbox(place: Path) -> None:
    """The agent that `up` started is gone; who asks for another one gets one that `down` ends too."""
    own = place / "own"
    own.mkdir(mode=0o700)
    with company(own) as made:
        made.juniper("down").good()
        made.juniper("up").good()
        agent = made.status()["agent"]
        assert isinstance(agent, dict)
        process = Process.of("agent", int(agent["pid"]))
        assert process.runs()
    assert not process.runs()


def test_env_is_for_any_shell(shop: Company) -> None:
    lines = shop.sandbox("env").splitlines()
    assert all(line.startswith("export ") and line.endswith("'") and " " not in line[7:] for line in lines)
    pointed = [shop.env[name] for name in ("AWS_CONFIG_FILE", "JUNIPER_CONFIG", "JUNIPER_ISSUER_CONFIG")]
    assert all(value.startswith(str(shop.folder)) for value in pointed)
    assert str(BIN / "juniper-aws") in Path(shop.env["AWS_CONFIG_FILE"]).read_text()
