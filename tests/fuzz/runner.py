"""One target under libFuzzer, and the figures of its run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.requirements import require_peer

from .material import SEEDS

HELPERS = Path(__file__).parents[2] / "helpers"
FRAMES = "frames"
"""The helper's frame reader, the one target in C."""
PYTHON = ("wire", "policy", "jose", "dpop", "device", "answers")
TARGETS = (FRAMES, *PYTHON)
CLANGS = ("clang", *(f"clang-{number}" for number in range(25, 13, -1)))


class Found(AssertionError):
    """A target broke its promise; the input that did it is named."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run did: how often the target was called, what it reached beyond its seeds, and how long it took."""

    target: str
    executions: int
    reached: int
    new_coverage: int
    new_inputs: int
    seconds: float


def program(target: str, folder: Path, helpers: Path = HELPERS) -> list[str]:
    """The command that fuzzes one target; a test that misses a peer for it is skipped aloud."""
    if target == FRAMES:
        return [str(_compiled(folder, helpers))]
    if find_spec("atheris") is None:
        require_peer("atheris", "there is no build of it for this Python and system")
    return [sys.executable, "-m", "tests.fuzz.child", target]


@cache
def _compiled(folder: Path, helpers: Path) -> Path:
    clang = next(filter(None, map(shutil.which, CLANGS)), None)
    if clang is None:
        require_peer("clang", "Debian has it in the packages clang-14 and libclang-rt-14-dev")
    command = ["make", "-s", "-C", str(helpers), "fuzz", f"BUILD={folder}", f"CLANG={clang}"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if "libclang_rt" in made.stderr:
        require_peer("libFuzzer", "Debian has it in the package libclang-rt-14-dev")
    assert made.returncode == 0, made.stderr
    return folder / "frames"


def run(command: list[str], target: str, corpus: Path, *options: str) -> Figures:
    """Fuzz from the seeds and what ``corpus`` holds already; :class:`Found` where something was."""
    corpus.mkdir(parents=True, exist_ok=True)
    options = (*options, "-print_final_stats=1", "-close_fd_mask=1", f"-artifact_prefix={corpus.parent}/{target}-")
    began = time.monotonic()
    done = subprocess.run(
        [*command, *options, str(corpus), str(SEEDS / target)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    seconds = time.monotonic() - began
    if done.returncode:
        raise Found(f"{target} ended with status {done.returncode}:\n{done.stderr[-6000:]}")
    return _figures(target, done.stderr, seconds)


def _figures(target: str, log: str, seconds: float) -> Figures:
    (before,) = re.findall(r"INITED cov: (\d+)", log)
    (after,) = re.findall(r"DONE +cov: (\d+)", log)
    executions, inputs = (
        int(re.findall(rf"stat::{name}: +(\d+)", log)[0]) for name in ("number_of_executed_units", "new_units_added")
    )
    return Figures(target, executions, int(after), int(after) - int(before), inputs, seconds)
