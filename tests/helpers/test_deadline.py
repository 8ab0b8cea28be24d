"""Four seconds after its start a helper has ended, whatever it waited for; all the ways to wait are tried at once."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from juniperd import wire

from .programs import PATIENCE, TARGETS, Helper, Outcome, ended, refusal
from .scripted import Script, ScriptedAgent, Talk

DEADLINE = 4.0
SLACK = 1.5
"""What a loaded machine may add; a tool that waits 5 s was promised less, which `make bench` measures."""

LATE = refusal("the agent did not answer within 4 s; run: juniper status")


def say_nothing(talk: Talk) -> None:
    """The agent takes the request and stays silent."""
    talk.request()
    talk.rest()


def greet_only(talk: Talk) -> None:
    """The agent begins a frame."""
    talk.request()
    talk.greet()
    talk.say(b"o\x00\x00")
    talk.rest()


def read_nothing(talk: Talk) -> None:
    """The agent asks for stdin and does not take it."""
    talk.request()
    talk.greet()
    talk.say(wire.encode(wire.Frame("s")))
    gone.wait(PATIENCE)


def drip(talk: Talk) -> None:
    """The agent sends a little again and again: none of it is an answer."""
    talk.request()
    talk.greet()
    while not gone.wait(0.05):
        talk.say(wire.encode(wire.Frame("e", b"")))


def ask_stdin(talk: Talk) -> None:
    """The agent asks for stdin, which does not end."""
    talk.request()
    talk.greet()
    talk.say(wire.encode(wire.Frame("s")))
    talk.rest()


def answer_much(talk: Talk) -> None:
    """The agent's answer is more than a pipe holds, and nobody reads it."""
    talk.request()
    talk.answer(b"x" * 1_000_000)


gone = threading.Event()
"""Set once every helper has ended."""


@dataclass(frozen=True, slots=True)
class Wait:
    """One way to wait."""

    script: Script | None
    outcome: Outcome
    stdin: str = "nothing"
    reads: bool = True
    starts: bool = False


WAITS = {
    "silent": Wait(say_nothing, LATE),
    "mid-frame": Wait(greet_only, LATE),
    "drip": Wait(drip, LATE),
    "not-accepted": Wait(None, LATE),
    "not-started": Wait(None, refusal("the agent did not start within 4 s; run: juniper up"), starts=True),
    "stdin-not-taken": Wait(read_nothing, LATE, stdin="endless"),
    "stdin-open": Wait(ask_stdin, refusal("stdin did not end within 4 s; close it, or pipe it in"), stdin="open"),
    "stdout-full": Wait(answer_much, refusal("nobody took the answer within 4 s; read all of it"), reads=False),
}


@dataclass(frozen=True, slots=True)
class Waited:
    """How one wait ended, and after how long."""

    outcome: Outcome
    seconds: float


def full_queue(path: Path, stack: ExitStack) -> None:
    """A socket whose agent is too busy to accept: its queue is full."""
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(path))
    listener.listen(0)
    waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
    waiting.connect(str(path))


def beside_a_failure(helper: Helper, folder: Path) -> Helper:
    """A helper beside a juniperd that ends at once, as one with a broken configuration does."""
    here = helper.copied_to(folder)
    (folder / "juniperd").write_text("#!/bin/sh\nexit 1\n")
    (folder / "juniperd").chmod(0o755)
    return here


def call(helper: Helper, wait: Wait, path: Path) -> Waited:
    """One helper, from start to end; only then are its streams read."""
    reader, writer = os.pipe()
    stdin = {"open": reader, "nothing": subprocess.DEVNULL}.get(wait.stdin)
    with ExitStack() as stack:
        if stdin is None:
            stdin = stack.enter_context(Path("/dev/zero").open("rb")).fileno()
        began = time.monotonic()
        variable = "XDG_RUNTIME_DIR" if wait.starts else "JUNIPER_SOCKET"
        process = helper.start(env={variable: str(path)}, stdin=stdin)
        if wait.reads:
            outcome = ended(process)
        else:
            process.wait(PATIENCE)
        seconds = time.monotonic() - began
        if not wait.reads:
            outcome = Outcome(process.returncode, b"", ended(process).stderr)
    os.close(reader)
    os.close(writer)
    return Waited(outcome, seconds)


@pytest.fixture(scope="module")
def waited(built: Callable[[str], Helper]) -> dict[tuple[str, str], Waited]:
    """Every form in every wait, all at once: the 4 s are spent one time."""
    helpers = {form: built(form) for form in TARGETS}
    with TemporaryDirectory() as made, ExitStack() as stack, ThreadPoolExecutor(len(WAITS) * len(TARGETS)) as pool:
        folder = Path(made)
        calls = {}
        for form, helper in helpers.items():
            for number, (name, wait) in enumerate(WAITS.items()):
                path = folder / f"{form[0]}{number}"
                if wait.script is not None:
                    stack.enter_context(ScriptedAgent(path, wait.script))
                elif not wait.starts:
                    full_queue(path, stack)
                called = beside_a_failure(helper, path) if wait.starts else helper
                calls[form, name] = pool.submit(call, called, wait, path)
        results = {key: future.result() for key, future in calls.items()}
        gone.set()
    return results


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("form", TARGETS)
def test_a_wait_ends(waited: dict[tuple[str, str], Waited], form: str, name: str) -> None:
    found = waited[form, name]
    assert found.outcome == WAITS[name].outcome
    assert DEADLINE - 0.1 < found.seconds < DEADLINE + SLACK
