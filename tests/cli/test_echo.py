"""A terminal without echo: while it lasts, afterwards, and where there is none of ours."""

from __future__ import annotations

import io
import os
import pty
import termios
from pathlib import Path
from typing import TYPE_CHECKING

from juniperd.cli import echo

if TYPE_CHECKING:
    import pytest


def echoes(terminal: int) -> bool:
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)


def test_what_is_typed_is_not_written_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp())
    with os.fdopen(theirs, "w") as stream:
        quiet = echo.off(stream)
        quiet.__enter__()
        assert not echoes(theirs)
        assert not quiet.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        assert echoes(theirs)
    os.close(ours)


def test_in_the_background_the_terminal_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    groups = [os.getpgrp() + 1, os.getpgrp(), os.getpgrp() + 1]
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: groups.pop(0))
    with os.fdopen(theirs, "w") as stream:
        with echo.off(stream):
            assert echoes(theirs)
        with echo.off(stream):
            assert not echoes(theirs)
        # Put there meanwhile: the shell gives the terminal the modes of whoever comes next.
        assert not echoes(theirs)
    os.close(ours)


def test_what_is_no_terminal_is_none(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file, echo.off(file), echo.off(io.StringIO()):
        file.write("as ever")
    assert (tmp_path / "out").read_text() == "as ever"
