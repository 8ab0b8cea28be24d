"""The helper's forms, each built into a folder of its own, and one call of one of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.requirements import require_peer

SOURCES = Path(__file__).parents[2] / "helpers"
NAME = "juniper-aws"
TARGETS = {"c": "build", "sanitized": "sanitize", "python": "twin"}
PATIENCE = 20.0
"""Seconds after which a test gives up on anything: far over what the slowest form needs."""

Stream = int | IO[bytes] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call left behind."""

    status: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Helper:
    """One form of the helper, installed under one name."""

    form: str
    path: Path

    def start(
        self,
        *arguments: str | bytes,
        env: Mapping[str, str],
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.PIPE,
        stderr: Stream = subprocess.PIPE,
        **options: object,
    ) -> subprocess.Popen[bytes]:
        """A running helper with exactly this environment."""
        argv: Sequence[str | bytes] = (str(self.path), *arguments)
        return subprocess.Popen(argv, env=dict(env), stdin=stdin, stdout=stdout, stderr=stderr, **options)  # type: ignore[call-overload, no-any-return]  # options are Popen's own

    def run(self, *arguments: str | bytes, env: Mapping[str, str], **options: object) -> Outcome:
        """One call, from start to end."""
        return ended(self.start(*arguments, env=env, **options))  # type: ignore[arg-type]  # options are start's own

    def copied_to(self, folder: Path) -> Helper:
        """The same helper in another folder, where something else may lie beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        return Helper(self.form, Path(shutil.copy(self.path, folder / NAME)))


def ended(process: subprocess.Popen[bytes]) -> Outcome:
    """What a started helper leaves behind."""
    with process:
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Outcome(process.returncode, stdout or b"", stderr or b"")


def refusal(message: str) -> Outcome:
    """How the helper ends when it cannot do its work: one line, and status 1."""
    return Outcome(1, b"", f"{NAME}: {message}\n".encode())


def build(form: str, folder: Path) -> Helper:
    """Makes one form as the Makefile does, or skips where this machine has no compiler for it."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = [f"OUT={folder / 'bin'}", f"BUILD={folder / 'build'}", f"PYTHON={sys.executable}"]
    environment = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL"}}
    if form != "python" and not compiles(form, folder):
        require_peer("a C compiler", f"nothing here builds the {form} helper")
    command = ["make", "-s", "-C", str(SOURCES), TARGETS[form], *settings]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return Helper(form, folder / "bin" / NAME)


def compiles(form: str, folder: Path) -> bool:
    """Whether this machine links C at all, and with the sanitizers where they are asked for."""
    compiler = shutil.which("cc")
    if compiler is None or shutil.which("make") is None:
        return False
    flags = ["-fsanitize=address,undefined"] if form == "sanitized" else []
    command = [compiler, *flags, "-x", "c", "-o", str(folder / "probe"), "-"]
    return (
        subprocess.run(command, input=b"int main(void) { return 0; }", capture_output=True, check=False).returncode == 0
    )
