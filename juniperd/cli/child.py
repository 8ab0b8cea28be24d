"""A program that we start with an environment of our making, and what we tell the person beside it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from juniperd.errors import one_line
from juniperd.setup import kubectl
from juniperd.setup.session import Held

_FORWARDED = (signal.SIGTERM, signal.SIGHUP)
_KEYS = (signal.SIGINT, signal.SIGQUIT)
AGAIN = 1.0
"""Seconds after which a shell that is to end, and has not, is told once more."""


def run(words: Sequence[str], environ: Mapping[str, str], *, shell: bool = False) -> int:
    """The status of a program that has our terminal; keys are its own, and what ends us ends it."""
    child: subprocess.Popen[bytes] | None = None
    given: list[int] = []

    def forward(number: int, _frame: object) -> None:
        # A shell at which a person sits pays no heed to SIGTERM, and goes with its terminal.
        given.append(signal.SIGHUP if shell else number)
        if child is not None:
            child.send_signal(given[-1])
        if shell:
            # One that is busy with its prompt may miss it, and hears of it again.
            signal.setitimer(signal.ITIMER_REAL, AGAIN)

    # Before there is a program: a signal in between would leave it behind, with nobody who waits for it.
    before = {number: signal.signal(number, lambda *_: None) for number in _KEYS}
    before |= {number: signal.signal(number, forward) for number in (*_FORWARDED, signal.SIGALRM)}
    try:
        child = subprocess.Popen(words, env=dict(environ))
        for number in given:
            child.send_signal(number)
        status = _shell_status(child) if shell else child.wait()
    except OSError as error:
        return _not_run(words[0], error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _shell_status(child: subprocess.Popen[bytes]) -> int:
    """The status of a shell with job control of its own: where it is suspended so are we, and whoever started us goes on."""
    while _has_stopped(child.pid):
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        theirs, tty = os.getpgid(child.pid), sys.stdin.fileno()
        # Who leads the terminal's session has nobody above to go back to.
        if os.getsid(0) != os.getpid() and os.isatty(tty):
            _hand_terminal(tty, os.getpgrp())
            os.kill(os.getpid(), signal.SIGSTOP)
            _hand_terminal(tty, theirs)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(theirs, signal.SIGCONT)
    return child.wait()


def _has_stopped(pid: int) -> bool:
    """Wait until a child stops or ends; an end is left for who asks for its status."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
    return found is not None and found.si_code == os.CLD_STOPPED


def _hand_terminal(tty: int, group: int) -> None:
    """Make a group the one that the terminal's keys go to (tcsetpgrp(3), which stops a caller of another group)."""
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        os.tcsetpgrp(tty, group)
    finally:
        signal.signal(signal.SIGTTOU, before)


def _not_run(program: str, error: OSError) -> int:
    """As shells say it."""
    if isinstance(error, FileNotFoundError):
        say(f"there is no program {one_line(program, 100)}")
        return 127
    say(f"{one_line(program, 100)} cannot be run ({error.strerror})")
    return 126


def with_authorities(held: Held) -> Held:
    """The clusters with their CAs, some of which only the person's own kubeconfig knows."""
    lacking = any(one.ca_sha256 and not one.authority for one in held.places)
    theirs = kubectl.Theirs(Path(), os.environ).authorities() if lacking else ()
    found, without = kubectl.with_authorities(held.places, theirs)
    for one in without:
        say(f"left out: {one.relying_party}, whose CA is not here; run: juniper setup kubectl")
    return replace(held, places=tuple(found))


def say(line: str) -> None:
    """One line to standard error: standard output is the program's own, also where nobody hears us any more."""
    if sys.stderr is None:  # closed before we began; ``print`` would take standard output
        return
    try:
        print(f"juniper: {one_line(line, 1000)}", file=sys.stderr, flush=True)
    except OSError:
        # A reader that went away, or a full disk, ends neither the session nor the program in it, nor is it our status.
        sys.stderr = io.StringIO()
