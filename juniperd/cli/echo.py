"""A terminal that does not write what is typed, while something of ours stands there that it would disturb."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_ECHO = 3
"""Which of a terminal's settings say what it echoes (termios(3): the local modes)."""


@contextmanager
def off(stream: TextIO) -> Iterator[None]:
    """Without echo where ``stream`` is our terminal; Linux signals a Control-C before it writes ``^C``.

    A program in the background leaves the terminal alone, which would stop it (tcsetattr(3), SIGTTOU).
    """
    was = _modes(stream)
    if was is None:
        yield
        return
    quiet = [*was]
    quiet[_ECHO] &= ~termios.ECHO
    termios.tcsetattr(stream, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        if _modes(stream) is not None:
            termios.tcsetattr(stream, termios.TCSANOW, was)


def _modes(stream: TextIO) -> list[Any] | None:
    try:
        if os.tcgetpgrp(stream.fileno()) != os.getpgrp():
            return None
        return termios.tcgetattr(stream)
    except (OSError, ValueError, termios.error):
        return None
