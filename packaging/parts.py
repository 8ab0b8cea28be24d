"""What the packages with the agent's libraries in them have in common: how these are brought, compiled and dated."""

from __future__ import annotations

import compileall
import os
import py_compile
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = {"juniper": "juniperd.cli", "juniperd": "juniperd.cli.daemon"}
"""Each program with the module whose ``main`` it is."""
WHEN = int(os.environ.get("SOURCE_DATE_EPOCH", "1577836800"))
"""The time of every file in them, in unix seconds (reproducible-builds.org): the same source gives the same package."""


def wheel_of(place: Path) -> Path:
    """The wheel with the static helper, built in ``place``."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(words, cwd=ROOT, env={**os.environ, "JUNIPER_HELPER": "static"}, check=True, stdout=sys.stderr)
    (wheel,) = place.glob("*.whl")
    return wheel


def installed(lib: Path, wheel: Path) -> str:
    """Everything the agent imports, in its folder; the version."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-compile"]
    pinned = ["--require-hashes", "--only-binary", ":all:", "-r", str(ROOT / "packaging/runtime.lock")]
    subprocess.run([*pip, "--target", str(lib), *pinned], check=True)
    subprocess.run([*pip, "--target", str(lib), "--upgrade", str(wheel)], check=True)
    # It would tell where the wheel lay while this was built.
    (told,) = lib.glob("juniperd-*.dist-info/direct_url.json")
    told.unlink()
    record = told.with_name("RECORD")
    kept = [line for line in record.read_text(encoding="utf-8").splitlines() if told.name not in line]
    record.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return wheel.name.split("-")[1]


def compiled(lib: Path, called: str) -> None:
    """Bytecode that no user could write beside the source later, good whatever the files' times become."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(lib, quiet=1, invalidation_mode=mode, stripdir=str(lib), prependdir=called)


def same_times(tree: Path) -> None:
    """All files of one time, open to every reader and to no writer but their owner."""
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (WHEN, WHEN), follow_symlinks=False)


def run(*words: str) -> str:
    """What a program prints, which must not fail."""
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
