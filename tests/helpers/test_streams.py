"""Streams that are slow, closed, half read or awkward."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from juniperd import wire

from .programs import NAME, PATIENCE, Helper, Outcome, ended, refusal
from .scripted import ScriptedAgent, Talk

LARGE = bytes(range(256)) * 4_096
"""A mebibyte: more than any pipe holds."""


def answer_large(talk: Talk) -> None:
    """The agent's part: an answer in many frames."""
    talk.request()
    talk.answer(LARGE)


def ask_stdin(talk: Talk) -> bytes:
    """The agent's part: asks for stdin and takes it to its end, frame by frame."""
    talk.request()
    talk.greet()
    talk.say(wire.encode(wire.Frame("s")))
    taken = b""
    while (frame := talk.frame()).payload:
        assert frame.kind == "i"
        assert len(frame.payload) <= wire.MAX_PAYLOAD
        taken += frame.payload
    return taken


def test_a_large_answer_arrives_whole(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    with ScriptedAgent(folder / "agent.sock", answer_large):
        assert helper.run(env=env) == Outcome(0, LARGE, b"")


def test_a_pipe_that_does_not_block_loses_nothing(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with ScriptedAgent(folder / "agent.sock", answer_large), os.fdopen(reader, "rb") as stdout:
        call = helper.start(env=env, stdout=writer)
        os.close(writer)
        assert stdout.read() == LARGE
        assert ended(call) == Outcome(0, b"", b"")


def test_pieces_are_seen_as_they_come(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    """The agent sends the second only when the tool has seen the first."""
    seen, tell = socket.socketpair()
    seen.settimeout(PATIENCE)

    def play(talk: Talk) -> None:
        talk.request()
        talk.greet()
        talk.say(wire.encode(wire.Frame("o", b"first")))
        assert seen.recv(1) == b"!"
        talk.say(wire.encode(wire.Frame("o", b" second")) + wire.encode_exit(0))

    with seen, tell, ScriptedAgent(folder / "agent.sock", play):
        call = helper.start(env=env)
        assert call.stdout is not None
        assert os.read(call.stdout.fileno(), 64) == b"first"
        tell.send(b"!")
        assert ended(call) == Outcome(0, b" second", b"")


def test_a_stopped_helper_goes_on(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    """Ctrl-Z and fg interrupt what it waits in."""
    asked, tell = socket.socketpair()
    tell.settimeout(PATIENCE)

    def play(talk: Talk) -> None:
        talk.request()
        asked.send(b"!")
        assert asked.recv(1) == b"!"
        talk.answer(b"answered")

    with asked, tell, ScriptedAgent(folder / "agent.sock", play):
        call = helper.start(env=env)
        assert tell.recv(1) == b"!"
        call.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, call.pid, os.WSTOPPED)
        call.send_signal(signal.SIGCONT)
        tell.send(b"!")
        assert ended(call) == Outcome(0, b"answered", b"")


def test_an_interrupt_ends_it_without_a_word(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    asked, tell = socket.socketpair()
    tell.settimeout(PATIENCE)

    def play(talk: Talk) -> None:
        talk.request()
        asked.send(b"!")
        assert talk.rest() == b""

    with asked, tell, ScriptedAgent(folder / "agent.sock", play):
        call = helper.start(env=env)
        assert tell.recv(1) == b"!"
        call.send_signal(signal.SIGINT)
        assert ended(call) == Outcome(-signal.SIGINT, b"", b"")


@pytest.mark.parametrize("size", [1, wire.MAX_PAYLOAD + 1, wire.MAX_STDIN])
def test_stdin_up_to_a_mebibyte_is_sent(helper: Helper, folder: Path, env: dict[str, str], size: int) -> None:
    def play(talk: Talk) -> None:
        assert ask_stdin(talk) == LARGE[:size]
        talk.say(wire.encode_exit(0))

    (folder / "stdin").write_bytes(LARGE[:size])
    with ScriptedAgent(folder / "agent.sock", play), (folder / "stdin").open("rb") as stdin:
        assert helper.run(env=env, stdin=stdin) == Outcome(0, b"", b"")


def test_a_longer_stdin_is_refused(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    def play(talk: Talk) -> None:
        with pytest.raises(IndexError):  # the helper leaves where the next frame would begin
            ask_stdin(talk)

    (folder / "stdin").write_bytes(LARGE + b"!")
    with ScriptedAgent(folder / "agent.sock", play), (folder / "stdin").open("rb") as stdin:
        assert helper.run(env=env, stdin=stdin) == refusal("stdin is longer than 1 MiB; send less")


def test_an_answer_ends_the_wait_for_stdin(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    """The agent has heard enough; the pipe stays open."""

    def play(talk: Talk) -> None:
        talk.request()
        talk.greet()
        talk.say(wire.encode(wire.Frame("s")))
        assert talk.frame() == wire.Frame("i", b"enough")
        talk.say(wire.encode_exit(3))

    with ScriptedAgent(folder / "agent.sock", play):
        call = helper.start(env=env, stdin=subprocess.PIPE)
        assert call.stdin is not None
        os.write(call.stdin.fileno(), b"enough")
        assert call.wait(PATIENCE) == 3
        assert ended(call) == Outcome(3, b"", b"")


def through_shell(helper: Helper, env: dict[str, str], redirection: str) -> Outcome:
    """One call with a stream that is closed as only a shell can close it."""
    command = ["/bin/sh", "-c", f'exec "$0" {redirection}', str(helper.path)]
    return ended(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE))


def test_a_closed_stdout_is_said(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    """The socket must not take the place of the closed stream, nor the answer be lost in silence."""
    with ScriptedAgent(folder / "agent.sock", answer_large):
        outcome = through_shell(helper, env, ">&-")
    assert outcome == refusal("cannot write the answer: bad file descriptor; run it with stdout open")


def test_a_reader_that_went_away_is_said(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with ScriptedAgent(folder / "agent.sock", answer_large):
        call = helper.start(env=env, stdout=writer)
        os.close(writer)
        assert ended(call) == refusal("cannot write the answer: broken pipe; run it with stdout open")


def test_a_closed_stderr_changes_no_status(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    def play(talk: Talk) -> None:
        talk.request()
        talk.greet()
        talk.say(wire.encode(wire.Frame("e", b"nobody hears this\n")))
        talk.say(wire.encode(wire.Frame("o", b"answered")) + wire.encode_exit(5))

    with ScriptedAgent(folder / "agent.sock", play):
        assert through_shell(helper, env, "2>&-") == Outcome(5, b"answered", b"")


def test_a_closed_stdin_is_said_when_it_is_asked_for(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    def play(talk: Talk) -> None:
        talk.request()
        talk.greet()
        talk.say(wire.encode(wire.Frame("s")))
        assert talk.rest() == b""

    with ScriptedAgent(folder / "agent.sock", play):
        outcome = through_shell(helper, env, "<&-")
    assert outcome == refusal("cannot read stdin: bad file descriptor; run it with stdin open")


def test_with_all_three_closed_it_still_asks(helper: Helper, folder: Path, env: dict[str, str]) -> None:
    def play(talk: Talk) -> None:
        assert talk.request().argv == (NAME.encode(),)
        talk.answer(status=4)

    with ScriptedAgent(folder / "agent.sock", play):
        assert through_shell(helper, env, "<&- >&- 2>&-") == Outcome(4, b"", b"")
