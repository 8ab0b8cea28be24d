"""Each form of the helper, compiled once, and a folder short enough for a socket's path."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from .programs import TARGETS, Helper, build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Helper]:
    """Makes a form when it is first asked for."""

    @cache
    def make(form: str) -> Helper:
        return build(form, tmp_path_factory.mktemp(form))

    return make


@pytest.fixture(params=list(TARGETS))
def helper(request: pytest.FixtureRequest, built: Callable[[str], Helper]) -> Helper:
    """Every form in turn: whatever holds for one holds for all."""
    return built(request.param)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder whose path leaves room for a socket's name."""
    path = Path(tempfile.mkdtemp(prefix="juniper-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def env(folder: Path) -> dict[str, str]:
    """A caller's environment, with secrets in it that no helper may pass on, and the socket in ``folder``."""
    return {
        "HOME": str(folder / "home"),
        "PATH": "/usr/bin:/bin",
        "JUNIPER_SOCKET": str(folder / "agent.sock"),
        "AWS_PROFILE": "staging",
        "AWS_SECRET_ACCESS_KEY": "not-to-be-sent",
        "SSH_AUTH_SOCK": "/nowhere/ssh.sock",
    }
