"""What ``juniper login`` shows while it waits for a person: who asks, code and link, QR code, time left, what is next.

Everything is written once and stays; only the last line, with the time left, is written over, and it is gone at the
end. A stream that is no terminal gets plain lines; who asked for ``--plain`` gets sentences.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from juniperd.cli.connection import Event
from juniperd.errors import one_line

LONGEST_LINK = 4000
SAID_AT = (300.0, 60.0)
"""Seconds left at which ``--plain`` says so: each sentence interrupts who listens."""
TURNS_PER_SECOND = 5
_SPINNERS = ("|/-\\", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
_HALVES = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}
_QUIET = 2
"""Modules of margin around a QR code: half of the norm's, so that it fits the usual 24 rows; readers take it."""
_OVER = "\r\033[K"


@dataclass(frozen=True, slots=True)
class Surface:
    """What a stream can show."""

    terminal: bool
    redraws: bool
    colour: bool
    unicode: bool

    @classmethod
    def of(cls, out: TextIO, env: Mapping[str, str]) -> Surface:
        """As the stream and the person's variables say."""
        terminal, dumb = out.isatty(), env.get("TERM") in {None, "", "dumb"}
        # Python writes UTF-8 under LC_ALL=C too (PEP 540); what the terminal reads, the locale alone says.
        locale = next((env[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if env.get(name)), "C")
        return cls(
            terminal=terminal,
            redraws=terminal and not dumb,
            colour=terminal and not dumb and not env.get("NO_COLOR"),
            unicode="utf8" in locale.lower().replace("-", ""),
        )


class SignInScreen:
    """One sign-in on one stream; a context manager that leaves no half line behind, however it ends."""

    def __init__(
        self,
        out: TextIO,
        env: Mapping[str, str],
        *,
        clock: Callable[[], float],
        plain: bool = False,
        qr: bool = False,
    ) -> None:
        self._out = out
        self._clock = clock
        self._plain = plain
        self._wants_qr = qr
        self._surface = Surface.of(out, env)
        self._live = self._surface.redraws and not plain
        self._doing = ""
        self._until: float | None = None
        self._to_say: list[float] = []
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if kind is KeyboardInterrupt and self._surface.terminal:
            self._say("ended; to begin again run: juniper login")

    def code(self, event: Event) -> None:
        """A code to compare, with the link that leads to its page."""
        link = one_line(str(event.get("verification_uri_complete") or event["verification_uri"]), LONGEST_LINK)
        code = one_line(str(event["user_code"]))
        if self._plain:
            self._say(
                f"{_asker(event)} asks you to sign in with {_place(event)}.",
                f"Open this link in a browser on any machine: {link}",
                f"The code is {code}. Compare it with the one in the browser before you approve.",
            )
        else:
            self._head(event)
            self._link(link)
            shown = "\n".join(self._wrapped(f"  code   {code}   (compare it before you approve)"))
            self._say(shown.replace(code, self._bold(code), 1))
            self._say(*self._qr(link))
        self._wait(event, "approve it there; this command then ends by itself")

    def link(self, event: Event, *, opened: bool) -> None:
        """A link for a browser on this machine, and whether it is opened there already."""
        link = one_line(str(event["url"]), LONGEST_LINK)
        where = "opened in your browser" if opened else "open it in a browser on this machine, for it comes back here"
        if self._plain:
            self._say(
                f"{_asker(event)} asks you to sign in with {_place(event)}.",
                f"The link is {link}",
                f"{where[0].upper()}{where[1:]}.",
            )
        else:
            self._head(event)
            self._link(link)
            self._say(*self._wrapped(where))
        self._wait(event, "sign in there; this command then ends by itself")

    def checking(self, event: Event) -> None:
        """The person has answered."""
        text = one_line(str(event.get("text")))
        self._until, self._to_say = None, []
        if self._live:
            self._doing = text
            self.beat()
        else:
            self._say(f"{text[:1].upper()}{text[1:]}." if self._plain else text)

    def beat(self) -> None:
        """A moment of waiting has gone by: the last line again with the time that is left now."""
        left = None if self._until is None else max(self._until - self._clock(), 0.0)
        if self._live and self._doing:
            self._draw(left)
        elif left is not None and self._to_say and left <= self._to_say[0]:
            self._to_say = [mark for mark in self._to_say if mark < left]
            self._say(f"{_minutes(left)} left.")

    def close(self) -> None:
        """Nothing is waited for any more: the line with the time left goes."""
        self._clear()
        self._doing = ""

    def _head(self, event: Event) -> None:
        if not self._surface.terminal:
            self._say(one_line(f"{event.get('app')} asks you to sign in at {event.get('host')}"))
            return
        self._say(*self._wrapped(f"{_asker(event)} asks you to sign in"))
        self._say(*self._wrapped(f"  at     {_place(event)}"))

    def _link(self, link: str) -> None:
        if self._surface.terminal and len(link) + len("  open   ") > self._size()[0]:
            # At the margin and unbroken, so that a terminal which wraps it still knows it for one link.
            self._say("  open", link)
        else:
            self._say(f"  open   {link}")

    def _wait(self, event: Event, following: str) -> None:
        seconds = float(str(event.get("expires_in") or 0))
        self._until = self._clock() + seconds
        if self._plain:
            self._to_say = [mark for mark in SAID_AT if mark < seconds]
            self._say(f"Then {following}. {_minutes(seconds)} left; Control-C ends it.")
        elif self._live:
            self._say(*self._wrapped(f"  next   {following}"))
            self._doing = "waiting for you"
            self.beat()
        else:
            if self._surface.terminal:
                self._say(*self._wrapped(f"  next   {following}"))
            self._say(f"waiting for you, {seconds / 60:.0f} min at most; Ctrl-C ends it")

    def _draw(self, left: float | None) -> None:
        spinner = _SPINNERS[self._surface.unicode]
        turn = spinner[int(self._clock() * TURNS_PER_SECOND) % len(spinner)]
        time = "" if left is None else f", {int(left) // 60}:{int(left) % 60:02} left"
        # A line that wraps cannot be written over; and the terminal adds ^C to it.
        room = self._size()[0] - 2
        line = f"{turn} {self._doing}{time}"
        ending = "; Ctrl-C ends it"
        self._write(_OVER + (line + ending if len(line + ending) <= room else line[: max(room, 0)]))
        self._drawn = True

    def _qr(self, link: str) -> Sequence[str]:
        """The link as a QR code, where it can be read off the screen; else why not."""
        if not self._wants_qr and not self._surface.terminal:
            return ()
        if not self._surface.unicode:
            return self._wrapped("(QR code left out: it needs more than ASCII, and your locale has no UTF-8)")
        rows = _halved(link)
        columns, lines = self._size() if self._surface.terminal else (len(rows[0]), 0)
        enough = self._wants_qr or len(rows) + 6 <= lines
        if len(rows[0]) > columns or not enough:
            return self._wrapped(f"(QR code left out: it needs {len(rows[0])} columns and {len(rows) + 6} rows)")
        # White on black whatever the terminal's own colours are; without colour as a dark terminal shows it.
        return [f"\033[97;40m{row}\033[0m" for row in rows] if self._surface.colour else rows

    def _bold(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self._surface.colour else text

    def _wrapped(self, text: str) -> list[str]:
        """One line, or several where it is a terminal and too narrow; what is indented stays so."""
        if not self._surface.terminal:
            return [text]
        indent = "         " if text.startswith("  ") else ""
        return textwrap.wrap(text, max(self._size()[0], 20), subsequent_indent=indent, replace_whitespace=False)

    def _size(self) -> tuple[int, int]:
        """Columns and rows now: a window may have been pulled since."""
        try:
            size = os.get_terminal_size(self._out.fileno())
        except OSError:
            return 80, 24
        return size.columns or 80, size.lines or 24

    def _clear(self) -> None:
        if self._drawn:
            self._write(_OVER)
        self._drawn = False

    def _say(self, *lines: str) -> None:
        self._clear()
        self._write("".join(f"{line}\n" for line in lines))

    def _write(self, text: str) -> None:
        shown = text if self._surface.unicode else text.encode("ascii", "replace").decode()
        self._out.write(shown)
        self._out.flush()


def _asker(event: Event) -> str:
    host = event.get("asking_host")
    return one_line(f"{event.get('app')} on {host}" if host else f"{event.get('app')}", 120)


def _place(event: Event) -> str:
    identity, host = event.get("identity"), event.get("host")
    return one_line(f"{identity}, {host}" if identity else f"{host}", 200)


def _minutes(seconds: float) -> str:
    minutes = max(round(seconds / 60), 1)
    return f"{minutes} minute{'' if minutes == 1 else 's'}"


def _halved(link: str) -> list[str]:
    """The QR code with two rows of modules in one of text; ink is what is light."""
    import segno

    matrix = [[*row] for row in segno.make(link, error="l", micro=False).matrix_iter(border=_QUIET)]
    return ["".join(row) for row in _paired(matrix)]


def _paired(matrix: Sequence[Sequence[int]]) -> Iterator[list[str]]:
    for at in range(0, len(matrix), 2):
        upper = matrix[at]
        lower = matrix[at + 1] if at + 1 < len(matrix) else [0] * len(upper)
        yield [_HALVES[int(not above), int(not below)] for above, below in zip(upper, lower, strict=True)]
