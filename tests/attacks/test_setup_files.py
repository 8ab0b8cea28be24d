"""What a person, a stranger's issuer or another program does between a plan and its writing."""

from __future__ import annotations

from pathlib import Path

import pytest

from juniperd.cli import setup_plan
from juniperd.cli.setup_plan import Plan
from juniperd.errors import ConfigError
from juniperd.setup import block, files


def test_what_was_edited_while_the_person_was_asked_is_not_written_over(tmp_path: Path) -> None:
    path, other = tmp_path / "config", tmp_path / "other"
    path.write_text("[default]\n")
    plan = Plan(tuple(setup_plan.change(one, files.read(one), "[default]\n[ours]\n") for one in (other, path)))
    path.write_text("[default]\nregion = eu-west-1\n")
    with pytest.raises(ConfigError, match=r"has changed since it was shown"):
        plan.carry_out()
    assert path.read_text() == "[default]\nregion = eu-west-1\n"
    assert not other.exists()
    assert not files.backup_of(path).exists()


def test_what_was_edited_is_not_taken_away_either(tmp_path: Path) -> None:
    path = tmp_path / "completion"
    path.write_text("ours\n")
    plan = Plan((setup_plan.change(path, "ours\n", ""),))
    path.write_text("ours\nand mine\n")
    with pytest.raises(ConfigError, match="changed since it was shown"):
        plan.carry_out()
    assert path.read_text() == "ours\nand mine\n"


def test_what_stands_between_a_torn_block_and_a_whole_one_stays() -> None:
    whole = block.added("", "ours = 1\n", "juniper setup aws")
    torn = whole.replace(block.END + "\n", "")
    for text in (f"{torn}[mine]\nregion = eu-west-1\n{whole}", f"{whole}[mine]\n{block.END}\n"):
        with pytest.raises(ConfigError, match="has lost its first or last line"):
            block.removed(text, file="file", command="juniper setup aws")
