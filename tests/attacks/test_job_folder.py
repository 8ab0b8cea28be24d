"""The job's folder where a runner has no umask, and where the way to it is too long."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from juniperd.cli import job_agent
from juniperd.errors import ConfigError, StateError
from juniperd.identity.gitlab_ci import JobToken
from juniperd.model import Secret

TOKEN = JobToken(Secret("t"), "https://juniper.example.com", "900", 2e9)


@contextmanager
def no_agent(token: JobToken, key: Path, environ: Mapping[str, str]) -> Iterator[None]:
    del token, key, environ
    yield


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_without_a_umask_nobody_else_writes_on_the_way_to_the_jobs_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_agent, "_started", no_agent)
    # Short: a socket's path has 107 bytes.
    with (
        tempfile.TemporaryDirectory() as home,
        job_agent.running(TOKEN, TOKEN.issuer, {"HOME": home}) as agent,
    ):
        below = [path for path in (agent.folder, *agent.folder.parents) if path.is_relative_to(home)][:-1]
        assert len(below) == 6
        for path in (*below, *agent.folder.rglob("*")):
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    assert os.umask(0) == 0  # the command has the umask that it would have without us


def test_a_folder_that_others_may_write_to_is_refused_before_anything_in_it_is_looked_at(tmp_path: Path) -> None:
    run = tmp_path / "juniper" / "run"
    (run / "job-1").mkdir(parents=True)
    run.chmod(0o777)
    os.mkfifo(run / "job-1" / job_agent.ENDS)  # to open it would be to wait for ever
    with (
        pytest.raises(StateError, match="open to other users; run: chmod 700"),
        job_agent.running(TOKEN, TOKEN.issuer, {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}),
    ):
        pass


def test_a_way_that_is_too_long_is_refused_with_what_shortens_it(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="set XDG_STATE_HOME to a shorter path"),
        job_agent.running(TOKEN, TOKEN.issuer, {"HOME": str(tmp_path / ("h" * 90))}),
    ):
        pass
    assert not [path for path in tmp_path.rglob("*-*") if path.name.startswith(str(os.getpid()))]
