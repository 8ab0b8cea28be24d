"""Where a token may lie, and what happens to it while the agent cannot be asked."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from juniperd.cli import token_file
from juniperd.cli.connection import AgentSaid
from juniperd.errors import AgentMissing, ConfigError, JuniperError, ProtocolError, SessionOver
from juniperd.model import rfc3339
from juniperd.setup import files

pytestmark = pytest.mark.as_user
LINE = "e30.e30.c2ln\n"
not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything; tests/test_as_user.py runs it")


def never() -> bytes:
    pytest.fail("the agent was asked before the place was known to be good")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(folder: Path, mode: int) -> None:
    (folder / "open").mkdir()
    (folder / "open").chmod(mode)
    with pytest.raises(ConfigError, match=r"others can write to .*; name a file in a folder that is yours alone"):
        token_file.keep(folder / "open" / "token", never, header=False)


def test_a_folder_that_is_not_there_is_not_made(folder: Path) -> None:
    with pytest.raises(ConfigError, match="run: mkdir -m 700"):
        token_file.keep(folder / "none" / "token", never, header=False)


@pytest.mark.parametrize("text", ["", "export PATH=/bin\n", LINE + "more\n", "a.b\n"])
def test_a_file_of_the_persons_is_neither_overwritten_nor_removed(folder: Path, text: str) -> None:
    (folder / "token").write_text(text)
    with pytest.raises(ConfigError, match="is there and no token of ours"):
        token_file.keep(folder / "token", never, header=False)
    assert (folder / "token").read_text() == text


def test_a_link_is_followed_nowhere(folder: Path) -> None:
    (folder / "theirs").write_text(LINE)
    (folder / "token").symlink_to(folder / "theirs")
    with pytest.raises(ConfigError, match="is there and no token of ours"):
        token_file.keep(folder / "token", never, header=False)


@pytest.mark.parametrize("text", [LINE, f"Authorization: Bearer {LINE}"])
def test_what_a_killed_run_left_is_taken_over(folder: Path, text: str) -> None:
    (folder / "token").write_text(text)
    token_file._check(folder / "token")


def held(seconds: float) -> token_file._Token:
    return token_file._Token(LINE, time.time() + seconds)


def failing(error: JuniperError) -> bytes:
    raise error


@pytest.mark.parametrize("error", [AgentMissing("no agent is running"), ProtocolError("the agent went away")])
def test_a_token_that_counts_stays_while_the_agent_is_away_and_no_longer(error: JuniperError) -> None:
    there = held(600)
    assert token_file._next(there, lambda: failing(error), header=False) is there
    with pytest.raises(type(error)):
        token_file._next(held(59), lambda: failing(error), header=False)


@pytest.mark.parametrize("error", [SessionOver("the session has ended"), AgentSaid("refused; ask for push", 77)])
def test_a_refusal_and_the_end_of_a_session_end_it_at_once(error: JuniperError) -> None:
    with pytest.raises(type(error)):
        token_file._next(held(600), lambda: failing(error), header=False)


@pytest.mark.parametrize(
    "answer", [b"", b"{}", b"[]", b'{"token":"a.b.c","ends_at":7}', b'{"token":"a","ends_at":"soon"}']
)
def test_an_answer_that_is_no_token_is_told(answer: bytes) -> None:
    with pytest.raises(ProtocolError, match="the agent's answer is no token"):
        token_file._read(answer, header=False)


def test_what_somebody_put_in_its_place_is_theirs(folder: Path) -> None:
    (folder / "token").write_text("theirs\n")
    token_file._remove(folder / "token", {LINE})
    assert (folder / "token").read_text() == "theirs\n"


@not_root
def test_a_folder_that_takes_nothing_more_is_one_line_with_its_cure(folder: Path) -> None:
    (folder / "shut").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match=r"cannot be written \(Permission denied\); check the space and the permiss"):
        files.replace(folder / "shut" / "token", LINE, 0o600)


def test_a_token_that_cannot_be_removed_is_told(folder: Path) -> None:
    (folder / "token").mkdir()
    with pytest.raises(ConfigError, match=r"token cannot be removed \(Is a directory\); run: rm /"):
        token_file._remove(folder / "token", {LINE})


@not_root
def test_a_file_that_may_not_be_read_is_none_of_ours(folder: Path) -> None:
    (folder / "token").write_text(LINE)
    (folder / "token").chmod(0o200)
    with pytest.raises(ConfigError, match="is there and no token of ours"):
        token_file.keep(folder / "token", never, header=False)


def test_an_answer_is_read_with_its_end() -> None:
    answer = json.dumps({"token": "e30.e30.c2ln", "ends_at": rfc3339(1_790_000_000)}).encode()
    assert token_file._read(answer, header=False) == token_file._Token(LINE, 1_790_000_000.0)
    assert token_file._read(answer, header=True).line == f"Authorization: Bearer {LINE}"
