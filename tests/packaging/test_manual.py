"""The manual: made from what ``--help`` says, and read by the programs that show it."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from juniperd.cli import VERBS, parser_of
from tests.requirements import require_peer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, "-I", "packaging/manual.py", str(folder)], cwd=ROOT, check=True)
    return folder


def shown(page: Path) -> str:
    if shutil.which("man") is None:
        require_peer("man", "it shows the manual")
    env = {**os.environ, "MANWIDTH": "78", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""}
    words = ["man", "--warnings", "-P", "cat", "-l", str(page)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    assert done.stderr == "", page
    return re.sub(r".\x08", "", done.stdout)


def test_there_is_a_page_for_each_verb_and_each_program(pages: Path) -> None:
    assert {page.name for page in pages.iterdir()} == {
        "juniper.1",
        "juniperd.1",
        *(f"juniper-{verb}.1" for verb in VERBS),
    }
    listed = shown(pages / "juniper.1")
    assert [verb for verb in VERBS if f"juniper-{verb}(1)" not in listed] == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_page_says_what_help_says(pages: Path, verb: str) -> None:
    text = shown(pages / f"juniper-{verb}.1")
    parser = parser_of(verb)
    shown_ones = [action for action in parser._actions if action.help != argparse.SUPPRESS and action.dest != "help"]
    said = {option for action in shown_ones for option in action.option_strings}
    assert [option for option in said if option not in text] == []
    # Examples are kept as they are, line by line.
    examples = [line.strip() for line in (parser.epilog or "").splitlines() if line.startswith("  ")]
    assert [line for line in examples if line.replace("…", "...")[:60] not in text] == []
    assert "EXIT STATUS" in text
