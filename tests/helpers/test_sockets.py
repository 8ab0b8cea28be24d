"""Which socket a helper calls, and what it says where it cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .programs import NAME, Helper, Outcome, refusal
from .scripted import ScriptedAgent, Talk

LONGEST = 107
"""Bytes of a path that fit a socket's address on Linux."""

ANSWERED = Outcome(0, b"answered", b"")


def answer(talk: Talk) -> None:
    """The agent's part: one call, answered."""
    talk.request()
    talk.answer(b"answered")


def of_length(folder: Path, size: int) -> Path:
    """A path in ``folder`` of exactly so many bytes."""
    return folder / ("x" * (size - len(os.fsencode(folder)) - 1))


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"XDG_RUNTIME_DIR": "{0}/run"}, "run/juniper/agent.sock"),
        ({"XDG_RUNTIME_DIR": "{0}/run", "HOME": "{0}/home"}, "run/juniper/agent.sock"),
        ({"HOME": "{0}/home"}, "home/.local/state/juniper/run/agent.sock"),
        ({"XDG_RUNTIME_DIR": "", "HOME": "{0}/home"}, "home/.local/state/juniper/run/agent.sock"),
        ({"XDG_RUNTIME_DIR": "run", "HOME": "{0}/home"}, "home/.local/state/juniper/run/agent.sock"),
        ({"JUNIPER_SOCKET": "{0}/own.sock", "XDG_RUNTIME_DIR": "{0}/run"}, "own.sock"),
        ({"JUNIPER_SOCKET": "", "JUNIPER_SESSION_SOCKET": "", "XDG_RUNTIME_DIR": "{0}/run"}, "run/juniper/agent.sock"),
        ({"JUNIPER_SESSION_SOCKET": "{0}/session.sock", "JUNIPER_SOCKET": "{0}/own.sock"}, "session.sock"),
    ],
)
def test_the_socket_that_is_called(helper: Helper, folder: Path, variables: dict[str, str], path: str) -> None:
    env = {name: value.format(folder) for name, value in variables.items()}
    with ScriptedAgent(folder / path, answer):
        assert helper.run(env=env) == ANSWERED


def test_with_no_home_there_is_no_socket(helper: Helper) -> None:
    assert helper.run(env={}) == refusal("cannot tell where the agent's socket is; set HOME")


def test_the_longest_path_is_called(helper: Helper, folder: Path) -> None:
    path = of_length(folder, LONGEST)
    with ScriptedAgent(path, answer):
        assert helper.run(env={"JUNIPER_SOCKET": str(path)}) == ANSWERED


@pytest.mark.parametrize("setting", ["JUNIPER_SOCKET", "JUNIPER_SESSION_SOCKET"])
@pytest.mark.parametrize("size", [LONGEST + 1, 5_000])
def test_a_longer_path_is_refused(helper: Helper, folder: Path, setting: str, size: int) -> None:
    env = {setting: str(of_length(folder, size))}
    what = f"the path of the agent's socket has {size} bytes, {LONGEST} are allowed"
    assert helper.run(env=env) == refusal(f"{what}; set {setting} to a shorter path")


def test_a_default_path_that_is_too_long_is_refused(helper: Helper, folder: Path) -> None:
    runtime = of_length(folder, 100)
    size = len(os.fsencode(runtime / "juniper/agent.sock"))
    what = f"the path of the agent's socket has {size} bytes, {LONGEST} are allowed"
    assert helper.run(env={"XDG_RUNTIME_DIR": str(runtime)}) == refusal(f"{what}; set JUNIPER_SOCKET to a shorter path")


def test_a_dead_session_does_not_fall_back(helper: Helper, folder: Path) -> None:
    """The main socket answers to nobody but the second call, which names it."""
    env = {"JUNIPER_SOCKET": str(folder / "agent.sock")}
    with ScriptedAgent(folder / "agent.sock", answer):
        ended = helper.run(env=env | {"JUNIPER_SESSION_SOCKET": str(folder / "session.sock")})
        assert helper.run(env=env) == ANSWERED
    assert ended == refusal("the session has ended; run: juniper session open")


def test_a_socket_that_nobody_listens_on_is_no_agent(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    with ScriptedAgent(folder / "agent.sock", answer):
        assert helper.run(env=env) == ANSWERED
    assert (folder / "agent.sock").is_socket()
    assert helper.run(env=env) == refusal(f"no agent answers at {folder}/agent.sock; run: juniper up")


def test_a_path_through_a_file_is_named(helper: Helper, folder: Path) -> None:
    (folder / "file").touch()
    outcome = helper.run(env={"JUNIPER_SOCKET": f"{folder}/file/agent.sock"})
    what = f"cannot reach the agent at {folder}/file/agent.sock: not a directory"
    assert outcome == refusal(f"{what}; run: juniper status")


def test_a_path_with_control_characters_stays_one_line(helper: Helper, folder: Path) -> None:
    outcome = helper.run(env={"JUNIPER_SOCKET": f"{folder}/a\n\x1b[31mb\x7f.sock"})
    assert outcome == refusal(f"no agent answers at {folder}/a??[31mb?.sock; run: juniper up")


def test_the_name_it_was_called_by_is_the_one_it_tells(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    called = folder / "git-credential-juniper"
    called.symlink_to(helper.path)
    outcome = Helper(helper.form, called).run("get", env=env)
    assert outcome.stderr.startswith(b"git-credential-juniper: no agent answers")
    assert NAME.encode() not in outcome.stderr
