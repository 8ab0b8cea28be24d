"""A short run of each target from its seeds: always the same number of calls, with the same seed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .material import SEEDS
from .runner import FRAMES, HELPERS, PYTHON, TARGETS, Found, program, run
from .targets import TARGETS as READERS

RUNS = {
    FRAMES: 100_000,
    "wire": 8_000,
    "policy": 3_000,
    "jose": 5_000,
    "dpop": 4_000,
    "device": 8_000,
    "answers": 6_000,
}
pytestmark = pytest.mark.e2e

SAME = ("-seed=1", "-max_len=4096")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("target", TARGETS)
def test_a_short_run_finds_nothing(place: Path, target: str) -> None:
    done = run(program(target, place), target, place / "corpus" / target, f"-runs={RUNS[target]}", *SAME)
    assert done.executions >= RUNS[target]
    assert done.new_inputs > 0, "it is guided by what it reaches"


@pytest.mark.parametrize("target", PYTHON)
def test_every_seed_and_every_input_that_once_found_something_is_read_well(target: str) -> None:
    seeds = sorted((SEEDS / target).iterdir())
    assert len(seeds) >= 4
    for seed in seeds:
        READERS[target](seed.read_bytes())


@pytest.mark.parametrize(
    ("line", "hole"),
    [
        ("} else if (type == 'o' && !foreign) {", "} else if (type == 'o') {"),
        ("if (inbox_size - at - HEADER < size) break;", ""),
        ("at += HEADER + size;", "at += HEADER + size + (size == 9);"),
    ],
)
def test_a_hole_in_the_frame_reader_is_found(tmp_path: Path, line: str, hole: str) -> None:
    """Each is made in a copy of the helper; that the fuzzer sees it is what its silence is worth."""
    helpers = shutil.copytree(HELPERS, tmp_path / "helpers")
    (tmp_path / "tests" / "fuzz").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("frames.c"), tmp_path / "tests" / "fuzz")
    text = (helpers / "juniper.c").read_text()
    assert line in text
    (helpers / "juniper.c").write_text(text.replace(line, hole))
    command = program(FRAMES, tmp_path / "built", helpers)
    with pytest.raises(Found):
        run(command, FRAMES, tmp_path / "corpus", "-runs=400000", *SAME)
