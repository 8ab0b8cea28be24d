"""What the Makefile leaves: one executable a name, and a twin that starts fast."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .programs import SOURCES, TARGETS, Helper, build, refusal

NAMES = ("juniper-aws", "docker-credential-juniper")
SLOW = {
    "argparse",
    "asyncio",
    "contextlib",
    "dataclasses",
    "enum",
    "json",
    "re",
    "selectors",
    "signal",
    "socket",
    "typing",
}


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """One run of make, quiet, in the helper's folder."""
    command = ["make", "-s", "-C", str(SOURCES), f"PYTHON={sys.executable}", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("form", TARGETS)
def test_every_name_is_an_executable_of_its_own(form: str, tmp_path: Path) -> None:
    build(form, tmp_path / "first")  # skips where there is no compiler
    out = tmp_path / "bin"
    made = make(TARGETS[form], f"NAMES={' '.join(NAMES)}", f"OUT={out}", f"BUILD={tmp_path / 'first' / 'build'}")
    assert (made.returncode, made.stderr) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == sorted(NAMES)
    for name in NAMES:
        assert (out / name).stat().st_mode & 0o777 == 0o755
        called = Helper(form, out / name).run(env={})
        assert called.stdout + called.stderr == refusal(
            "cannot tell where the agent's socket is; set HOME"
        ).stderr.replace(b"juniper-aws", name.encode())


@pytest.mark.parametrize("target", ["build", "twin"])
def test_it_must_be_told_where(target: str, tmp_path: Path) -> None:
    made = make(target, f"BUILD={tmp_path}")
    assert made.returncode != 0
    assert f"say where: make {target} OUT=dir" in made.stderr


def test_clean_removes_what_was_made(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "juniper.o").touch()
    assert make("clean", f"BUILD={tmp_path / 'build'}").returncode == 0
    assert not (tmp_path / "build").exists()


def test_the_twin_imports_nothing_slow() -> None:
    script = "import sys; sys.path.insert(0, sys.argv[1]); import juniper_helper; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-B", "-c", script, str(SOURCES)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True)
    assert SLOW & set(loaded.stdout.split()) == set()
