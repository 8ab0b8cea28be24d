"""How verbs show things: plain lines, the person's own clock, colour on a terminal alone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from time import localtime, strftime

from juniperd.errors import one_line

_COLOURS = {"green": "32", "yellow": "33", "red": "31", "dim": "2"}


def as_json(value: object) -> None:
    """One JSON document, for scripts; ASCII, so that nobody's name moves a cursor."""
    print(json.dumps(value, indent=2))


def coloured(text: str, colour: str) -> str:
    """The text in colour, where standard output is a terminal that wants some (no-color.org)."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{_COLOURS[colour]}m{text}\033[0m"


def clock_time(moment: object) -> str:
    """A moment, unix seconds or RFC 3339, on the person's own clock; with its day where that is not today."""
    seconds = _unix(moment)
    if seconds is None:
        return "an unknown time"
    then = localtime(seconds)
    today = then[:3] == localtime()[:3]
    return strftime("%H:%M %Z" if today else "%a %d %b %H:%M %Z", then)


def _unix(moment: object) -> float | None:
    if isinstance(moment, int | float):
        return float(moment)
    if not isinstance(moment, str):
        return None
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()


def person(user: object) -> str:
    """A GitLab user as we name people: login and id."""
    if not isinstance(user, Mapping):
        return "somebody"
    return one_line(f"{user.get('login')} (user {user.get('id')})", 120)


def outcome(name: str, found: tuple[int, str]) -> int:
    """A verb's text on the stream its status asks for; the status."""
    status, text = found
    if status == 0:
        print(text)
    else:
        print(f"{name}: {text}", file=sys.stderr)
    return status
