"""Root may open everything, which hides mode mistakes: tests marked ``as_user`` run once more as somebody who may not."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.requirements import require_peer

NOBODY = 65_534
PROJECT = Path(__file__).parents[1]
PATIENCE = 240.0


@pytest.fixture
def home() -> Iterator[Path]:
    """A private folder of the ordinary user, whose path leaves room for a socket's name."""
    if os.geteuid() != 0:
        pytest.skip("this run is an ordinary user's already")
    with tempfile.TemporaryDirectory(prefix="jun-") as name:
        path = Path(name)
        path.chmod(0o700)
        os.chown(path, NOBODY, NOBODY)
        yield path


def variables(home: Path) -> dict[str, str]:
    """A small environment; the packages are those of the installation, whichever interpreter runs them.

    What needs root may skip here: the run around this one is root's and has it all.
    """
    return {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{PROJECT}:{sysconfig.get_path('purelib')}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(home / "hypothesis"),
    }


def as_nobody(*argv: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """One command as the ordinary user, in the project's folder."""
    return subprocess.run(
        argv,
        env=dict(env),
        cwd=PROJECT,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        umask=0o022,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def interpreter(env: Mapping[str, str]) -> str:
    """One that the ordinary user may run, and that has all the tests need."""
    tried = []
    major, minor = sys.version_info[:2]
    for program in (os.path.realpath(sys.executable), "/usr/bin/python3", f"/usr/bin/python{major}.{minor}"):
        check = (
            f"import sys, pytest, aiohttp, cryptography, juniperd; sys.exit(sys.version_info[:2] != ({major}, {minor}))"
        )
        try:
            made = as_nobody(program, "-c", check, env=env)
        except OSError as problem:
            tried.append(f"{program}: {problem.strerror}")
            continue
        if made.returncode == 0:
            return program
        tried.append(f"{program}: {made.stderr.strip().rpartition(chr(10))[2] or 'another version'}")
    return require_peer("an interpreter for an ordinary user", "; ".join(tried))


def test_what_is_marked_holds_for_an_ordinary_user_too(home: Path) -> None:
    env = variables(home)
    options = ("-m", "pytest", "-m", "as_user", "-p", "no:cacheprovider", "-rs", "--rootdir", str(PROJECT), "tests")
    made = as_nobody(interpreter(env), *options, env=env)
    # Status 5 says that nothing was selected, which would prove nothing.
    assert made.returncode == 0, made.stdout[-8000:] + made.stderr[-4000:]
    assert " passed" in made.stdout
