"""``juniper login`` on a person's terminal: in tmux, cut off by Ctrl-C, and what it says on which stream."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.requirements import require_peer

from .company import Company, installed

pytestmark = pytest.mark.e2e
PATIENCE = 20.0


@pytest.fixture
def undecided(healed: Company) -> Iterator[Company]:
    """The company, where a person has to approve."""
    healed.sandbox("idp", "--ask")
    yield healed
    healed.sandbox("idp", "--as", "developer")


def _read(terminal: int, until: bytes) -> bytes:
    shown, deadline = b"", time.monotonic() + PATIENCE
    while until not in shown:
        if not select.select([terminal], [], [], max(deadline - time.monotonic(), 0.0))[0]:
            pytest.fail(f"no {until!r} on the screen:\n{shown!r}")
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # EIO: the last process at the other end is gone
            return shown
        shown += piece
    return shown


def test_ctrl_c_ends_it_for_the_agent_too(undecided: Company) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(installed("juniper"), ["juniper", "login", "--device"], {**undecided.env, "TERM": "xterm"})
    try:
        assert b"asks you to sign in" in _read(terminal, b"waiting for you")
        os.write(terminal, b"\x03")
        left = _read(terminal, b"\0never")
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    last = left.decode().replace("\r\n", "\n").rpartition("\r\x1b[K")[2]
    assert last == "ended; to begin again run: juniper login\n"
    # The one flow ended with its only listener: the next login has a code of its own.
    undecided.sandbox("idp", "--as", "developer")
    assert "signed in as developer" in undecided.juniper("login", "--device", "--again").good()


def test_in_tmux_the_whole_screen_stands_in_sixty_columns(undecided: Company, place: Path) -> None:
    if shutil.which("tmux") is None:
        require_peer("tmux", "there is none on PATH")
    socket, answer = str(place / "tmux"), place / "out"
    env = {**undecided.env, "LC_ALL": "C.UTF-8"}
    login = f"{installed('juniper')} login --device >{answer}; exec cat"

    def tmux(*words: str) -> str:
        done = subprocess.run(
            ["tmux", "-f", "/dev/null", "-S", socket, *words], env=env, capture_output=True, text=True, check=True
        )
        return done.stdout

    try:
        tmux("new-session", "-d", "-x", "60", "-y", "24", login)
        shown = _until(tmux, "waiting for you")
        lines = shown.rstrip("\n").split("\n")
        assert len(lines) <= 24
        assert lines[0].startswith("Juniper on ")
        assert sum("█" in line for line in lines) == 17
        assert lines[-1].endswith(" left; Ctrl-C ends it")
        code = next(line.split()[1] for line in lines if line.startswith("  code"))
        _approve(undecided, code)
        after = _until(tmux, "next: juniper scopes").rstrip("\n")
        assert "waiting" not in after
        assert after.endswith("\nnext: juniper scopes")
    finally:
        tmux("kill-server")
    assert answer.read_text().startswith("signed in as developer (user 7) until ")
    answer.unlink()


def _until(tmux: Callable[..., str], text: str) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        shown = tmux("capture-pane", "-p")
        if text in shown:
            return shown
        time.sleep(0.02)  # tmux tells nobody when its screen changes
    pytest.fail(f"no '{text}' on the screen:\n{shown}")


def _approve(company: Company, code: str) -> None:
    form = urllib.parse.urlencode({"user_code": code, "person": "developer", "answer": "approve"}).encode()
    urllib.request.urlopen(f"{company.url('idp')}/activate", form).close()


def test_for_a_screen_reader_it_is_sentences(healed: Company) -> None:
    login = healed.juniper("login", "--device", "--plain")
    assert login.good().startswith("signed in as developer (user 7) until ")
    lines = login.stderr.splitlines()
    assert len(lines) == 5
    assert all(line[0].isupper() for line in lines)
    assert lines[-1] == "Checking with the issuer."


def test_a_drawing_and_none_is_a_contradiction(healed: Company) -> None:
    refused = healed.juniper("login", "--plain", "--qr")
    assert (refused.status, refused.line) == (
        2,
        "juniper: --plain draws nothing, and --qr is a drawing; leave one of them out",
    )
