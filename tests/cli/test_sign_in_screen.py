"""The sign-in's screen on a real pseudo-terminal of several kinds; what each shows is kept in ``transcripts/``."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from juniperd.cli.sign_in_screen import SignInScreen

TRANSCRIPTS = Path(__file__).with_name("transcripts")
WRITE = "JUNIPER_WRITE_TRANSCRIPTS"
"""Set to 1 where the screen was changed on purpose: the transcripts are written anew, to be looked at."""
CODE = {
    "event": "device_code",
    "app": "Juniper",
    "asking_host": "workstation",
    "identity": "Über-Firma",
    "host": "idp.example.com",
    "verification_uri": "https://idp.example.com/activate",
    "verification_uri_complete": "https://idp.example.com/activate?user_code=WDJB-MJHT",
    "user_code": "WDJB-MJHT",
    "expires_in": 600,
}
LINK = {
    "event": "browser",
    "app": "Juniper",
    "asking_host": "workstation",
    "identity": "Company sign-in",
    "host": "idp.example.com",
    "url": "https://idp.example.com/authorize?response_type=code&client_id=juniper&state=" + "s" * 43,
    "expires_in": 300,
}
CHECKING = {"event": "checking", "text": "checking with the issuer"}
UTF8 = {"LANG": "C.UTF-8", "TERM": "xterm-256color"}


class Terminal:
    """A pseudo-terminal with the person's end of it."""

    def __init__(self, columns: int, rows: int) -> None:
        self.mine, theirs = pty.openpty()
        self.resize(columns, rows)
        self.stream = os.fdopen(theirs, "w", encoding="utf-8")

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.mine, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def shown(self) -> str:
        """All that was written, as a terminal gets it, up to here."""
        self.stream.write("\N{END OF TRANSMISSION}")
        self.stream.flush()
        read = b""
        while not read.endswith(b"\x04"):
            read += os.read(self.mine, 65_536)
        return read[:-1].decode().replace("\r\n", "\n")


@contextmanager
def terminal(columns: int = 80, rows: int = 24) -> Iterator[Terminal]:
    made = Terminal(columns, rows)
    try:
        yield made
    finally:
        made.stream.close()
        os.close(made.mine)


class Hands:
    """A clock that is set by hand."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def whole_wait(at: Terminal, env: Mapping[str, str], *, plain: bool = False) -> str:
    """A sign-in from the code to the end, with four looks at the clock in between."""
    clock = Hands()
    with SignInScreen(at.stream, env, clock=clock, plain=plain) as screen:
        screen.code(CODE)
        for second in (0.2, 0.4, 299.6, 559.4):
            clock.now = Hands.now + second
            screen.beat()
        screen.checking(CHECKING)
    return at.shown()


@pytest.mark.parametrize(
    ("name", "columns", "env", "plain"),
    [
        ("80-columns", 80, UTF8, False),
        ("60-columns", 60, UTF8, False),
        ("30-columns", 30, UTF8, False),
        ("no-color", 80, {**UTF8, "NO_COLOR": "1"}, False),
        ("dumb", 80, {**UTF8, "TERM": "dumb"}, False),
        ("lc-all-c", 80, {**UTF8, "LC_ALL": "C"}, False),
        ("plain", 80, UTF8, True),
    ],
)
def test_what_a_person_sees(name: str, columns: int, env: dict[str, str], plain: bool) -> None:
    with terminal(columns) as at:
        shown = whole_wait(at, env, plain=plain)
    kept = TRANSCRIPTS / f"{name}.txt"
    visible = shown.replace("\033", "\N{SYMBOL FOR ESCAPE}").replace("\r", "\N{SYMBOL FOR CARRIAGE RETURN}\n")
    if os.environ.get(WRITE) == "1":
        kept.write_text(visible)
    assert visible == kept.read_text()
    lines = [] if plain else [_bare(line) for line in shown.replace("\r", "\n").split("\n")]
    assert [line for line in lines if len(line) > columns and "https://" not in line] == []


def _bare(line: str) -> str:
    """A line without colour and without the order to clear it."""
    for order in ("\033[K", "\033[1m", "\033[0m", "\033[97;40m"):
        line = line.replace(order, "")
    assert not [c for c in line if unicodedata.category(c) == "Cc"], line
    return line


def test_only_one_line_is_ever_written_over() -> None:
    with terminal() as at:
        shown = whole_wait(at, UTF8)
    before, _clear, after = shown.partition("\r\033[K")
    assert before.endswith("  next   approve it there; this command then ends by itself\n")
    assert "\n" not in after
    assert after.endswith("\r\033[K")


@pytest.mark.parametrize("env", [{**UTF8, "NO_COLOR": "1"}, {**UTF8, "TERM": "dumb"}, {**UTF8, "LC_ALL": "C"}])
def test_who_wants_less_gets_less(env: dict[str, str]) -> None:
    with terminal() as at:
        shown = whole_wait(at, env)
    if "NO_COLOR" in env:
        assert "m" not in {order[1:].lstrip("0123456789;")[:1] for order in shown.split("\033")[1:]}
    elif env["TERM"] == "dumb":
        assert "\033" not in shown
        assert "\r" not in shown
    else:
        assert shown.isascii()
        assert "QR code left out" in shown


def test_a_qr_code_is_read_off_the_screen_alone() -> None:
    """It is left out where a window is too low or too narrow for it; asked for by name, only where too narrow."""
    drawn = {}
    for columns, rows in ((80, 24), (80, 20), (30, 40)):
        for asked in (False, True):
            with terminal(columns, rows) as at:
                SignInScreen(at.stream, UTF8, clock=Hands(), qr=asked).code(CODE)
                drawn[columns, rows, asked] = "█" in at.shown()
    assert drawn == {
        (80, 24, False): True,
        (80, 24, True): True,
        (80, 20, False): False,
        (80, 20, True): True,
        (30, 40, False): False,
        (30, 40, True): False,
    }


def test_a_window_made_narrower_meanwhile_still_holds_the_line() -> None:
    clock = Hands()
    with terminal(80) as at, SignInScreen(at.stream, UTF8, clock=clock) as screen:
        screen.code(CODE)
        at.shown()
        at.resize(20, 24)
        screen.beat()
        assert at.shown() == "\r\033[K⠋ waiting for you,"


def test_a_screen_reader_is_interrupted_twice_alone() -> None:
    clock = Hands()
    with terminal() as at, SignInScreen(at.stream, UTF8, clock=clock, plain=True) as screen:
        screen.code(CODE)
        at.shown()
        for second in range(600):
            clock.now = Hands.now + second
            screen.beat()
        assert at.shown() == "5 minutes left.\n1 minute left.\n"


def test_the_browser_s_link_stays_one_line() -> None:
    with terminal(60) as at, SignInScreen(at.stream, UTF8, clock=Hands()) as screen:
        screen.link(LINK, opened=False)
        shown = at.shown().split("\n")
    assert shown[2:4] == ["  open", LINK["url"]]
    assert shown[4] == "open it in a browser on this machine, for it comes back here"
    assert shown[-1] == "\r\033[K⠋ waiting for you, 5:00 left; Ctrl-C ends it"


def test_without_a_terminal_it_is_plain_lines() -> None:
    out = io.StringIO()
    with SignInScreen(out, UTF8, clock=Hands()) as screen:
        screen.code(CODE)
        screen.beat()
        screen.checking(CHECKING)
    assert out.getvalue().splitlines() == [
        "Juniper asks you to sign in at idp.example.com",
        f"  open   {CODE['verification_uri_complete']}",
        "  code   WDJB-MJHT   (compare it before you approve)",
        "waiting for you, 10 min at most; Ctrl-C ends it",
        "checking with the issuer",
    ]


def test_an_interrupt_leaves_no_half_line() -> None:
    with terminal() as at:
        screen = SignInScreen(at.stream, UTF8, clock=Hands())
        screen.code(CODE)
        at.shown()
        screen.__exit__(KeyboardInterrupt, None, None)
        assert at.shown() == "\r\033[Kended; to begin again run: juniper login\n"
