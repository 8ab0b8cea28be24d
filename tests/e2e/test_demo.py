"""`make demo`, as a newcomer sees it: alone without a terminal, and on a terminal with a person who approves."""

from __future__ import annotations

import html
import os
import pty
import re
import select
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .company import BIN, installed, running_with

pytestmark = pytest.mark.e2e
SCRIPT = Path(__file__).parents[2] / "packaging" / "demo.sh"
PATIENCE = 90.0


@pytest.fixture
def newcomer() -> Iterator[dict[str, str]]:
    """A newcomer's variables, with a folder for what is temporary; it has to be empty in the end."""
    installed("aws")
    with tempfile.TemporaryDirectory(prefix="jun-") as name:
        yield {"HOME": name, "TMPDIR": name, "PATH": f"{BIN}:{os.defpath}", "LANG": "C.UTF-8", "TERM": "dumb"}
        assert list(Path(name).iterdir()) == []
        assert running_with("TMPDIR", name) == []
        assert running_with("HOME", name) == []


def test_without_a_terminal_it_runs_by_itself(newcomer: dict[str, str]) -> None:
    made = subprocess.run(
        ["sh", str(SCRIPT)],
        env=newcomer,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    _shows_everything(made.stdout)


def test_on_a_terminal_a_person_approves(newcomer: dict[str, str]) -> None:
    terminal, theirs = pty.openpty()
    with subprocess.Popen(
        ["sh", str(SCRIPT)], env=newcomer, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as demo:
        os.close(theirs)
        deadline = time.monotonic() + PATIENCE
        try:
            shown = _read(terminal, deadline, until=rb"waiting for you")
            link = re.search(r"open +(http://\S+)", shown)
            code = re.search(r"code +([A-Z]{4}-[A-Z]{4})", shown)
            assert link is not None, shown
            assert code is not None, shown
            assert code[1] in link[1]
            assert "\N{FULL BLOCK}" in shown or "\N{LOWER HALF BLOCK}" in shown or "\x1b[" in shown
            assert demo.poll() is None
            assert "Approved" in _approve(link[1])
            shown = _read(terminal, deadline)
        finally:
            os.close(terminal)
        assert demo.wait(20) == 0, shown
    _shows_everything(shown.replace("\r\n", "\n"))


def _shows_everything(shown: str) -> None:
    """What the demo promises to show, and its last line."""
    assert shown.rstrip("\n").splitlines()[-1] == "demo: ok", shown
    for promised in (
        "arn:aws:sts::111122223333:assumed-role/invoice-archive-writer/7-developer",
        "invoice 1001",
        "AccessDenied",
        "merge only",
        "sleeps until a debugging session wakes it",
        "delete: s3://invoice-archive-staging/invoice.txt",
        "lease     invoice-archive-janitor (aws)",
        "the session has ended",
        "lease     invoice-archive-writer (aws)",
        "decision permitted 7-developer invoice-archive-janitor",
        "audit ok",
    ):
        assert promised in shown, shown


def _approve(link: str) -> str:
    """The page behind the link, answered as its form says: the code in the link, one click."""
    with urllib.request.urlopen(link, timeout=20) as answer:
        page = answer.read().decode()
    code = re.search(r'name="user_code" value="([^"]+)"', page)
    action = re.search(r'<form method="post" action="([^"]+)"', page)
    assert code is not None, page
    assert action is not None, page
    form = {"user_code": html.unescape(code[1]), "person": "developer", "answer": "approve"}
    with urllib.request.urlopen(
        urllib.parse.urljoin(link, action[1]), urllib.parse.urlencode(form).encode(), timeout=10
    ) as answer:
        return str(answer.read().decode())


def _read(terminal: int, deadline: float, *, until: bytes | None = None) -> str:
    """What appears on the terminal, until something does or everybody has left it."""
    shown = b""
    while (left := deadline - time.monotonic()) > 0 and select.select([terminal], [], [], left)[0]:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break  # the last process has closed its side
        shown += piece
        if not piece or (until is not None and re.search(until, shown)):
            break
    return shown.decode()
