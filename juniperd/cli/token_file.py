"""A file with a token that is fresh for as long as we run: whole at every moment, ours alone, and gone at the end."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

from juniperd.cli import show
from juniperd.errors import AgentMissing, ConfigError, JuniperError, ProtocolError, SessionOver
from juniperd.setup import files

PAUSE = 5.0
"""Seconds between two questions: the agent renews by itself and answers from memory; the end of a session shows here."""
MARGIN = 60.0
"""Seconds before its end from which a token is no longer left lying there."""
_OURS = re.compile(r"(Authorization: Bearer )?[\w-]+\.[\w-]+\.[\w-]+\n")
_LONGEST = 16_384
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(Exception):
    """A signal asked for the end."""


@dataclass(frozen=True, slots=True)
class _Token:
    line: str
    ends_at: float


def keep(path: Path, ask: Callable[[], bytes], *, header: bool, pause: float = PAUSE) -> int:
    """Keep the file until a signal, the end of the session, or the end of a token that nobody renews."""
    path = path.absolute()
    _check(path)
    for number in _SIGNALS:
        signal.signal(number, _stop)
    kept: set[str] = set()
    try:
        token = _read(ask(), header=header)
        while True:
            if token.line not in kept:
                kept.add(token.line)  # before the file has it: a signal may come in between
                files.replace(path, token.line, 0o600)
                kept &= {token.line}
                _say(f"{path} holds a token until {show.clock_time(token.ends_at)}")
            time.sleep(pause)
            token = _next(token, ask, header=header)
    except Stopped:
        return 0
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        _remove(path, kept)


def _next(held: _Token, ask: Callable[[], bytes], *, header: bool) -> _Token:
    """The token to keep now; while the agent fails, the old one as long as it counts."""
    try:
        return _read(ask(), header=header)
    except SessionOver:
        raise
    except JuniperError as error:
        if time.time() >= held.ends_at - MARGIN or not isinstance(error, AgentMissing | ProtocolError):
            raise
        return held


def _read(answer: bytes, *, header: bool) -> _Token:
    try:
        said = json.loads(answer)
        token, ends_at = said["token"], datetime.fromisoformat(said["ends_at"]).timestamp()
    except (ValueError, KeyError, TypeError):
        msg = "the agent's answer is no token"
        raise ProtocolError(msg, "run: juniper down; juniper up") from None
    return _Token(f"Authorization: Bearer {token}\n" if header else f"{token}\n", ends_at)


def _check(path: Path) -> None:
    """The folder is ours alone to write to, and nothing of the person's is where the token goes."""
    folder = path.parent
    try:
        found = folder.stat()
    except OSError:
        msg = f"there is no folder {folder}"
        raise ConfigError(msg, f"run: mkdir -m 700 {folder}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        msg = f"others can write to {folder}"
        raise ConfigError(msg, "name a file in a folder that is yours alone")
    if os.path.lexists(path) and not _left_over(path):
        msg = f"{path} is there and no token of ours"
        raise ConfigError(msg, "name a file that does not exist")


def _left_over(path: Path) -> bool:
    """Whether this is what an earlier run had to leave, killed before it could remove it."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_size > _LONGEST:
        return False
    try:
        return _OURS.fullmatch(path.read_text(encoding="ascii", errors="replace")) is not None
    except OSError:
        return False


def _remove(path: Path, kept: set[str]) -> None:
    """Remove what we wrote, and nothing that somebody put in its place."""
    try:
        if path.read_text(encoding="ascii", errors="replace") in kept:
            path.unlink()
            _say(f"{path} is removed")
    except FileNotFoundError:
        return
    except OSError as error:
        msg = f"{path} cannot be removed ({error.strerror})"
        raise ConfigError(msg, f"run: rm {path}") from None


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped


def _say(line: str) -> None:
    print(f"juniper token: {line}", file=sys.stderr, flush=True)
