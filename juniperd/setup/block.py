"""One marked block of ours at the end of a file of theirs; nothing outside it is touched."""

from __future__ import annotations

import re

from juniperd.errors import ConfigError

END = "# <<< juniper <<<"
_MARK = "# >>> juniper >>>"
_BLOCK = re.compile(rf"\n?^{_MARK}(?:(?!^{_MARK}).)*?^{END}[^\n]*(?:\n|\Z)", re.MULTILINE | re.DOTALL)


def begin(command: str) -> str:
    """The block's first line, which says who wrote it and how it goes away."""
    return f"{_MARK}  written by: {command}    undo: {command} --undo"


def added(rest: str, body: str, command: str) -> str:
    """A text without our block, and the block behind it."""
    gap = "\n" if rest else ""  # which goes with the block: a text that ended without a line's end gets none
    return f"{rest}{gap}{begin(command)}\n{body}{END}\n"


def removed(text: str, *, file: str, command: str) -> str:
    """The text without our block; one that lost its first or last line is left to the person."""
    rest = _BLOCK.sub("", text)
    if _MARK in rest or END in rest:
        msg = f"the juniper block in your {file} has lost its first or last line"
        raise ConfigError(msg, f"remove the rest of the block by hand, then run: {command}")
    return rest
