"""Policy's patterns: whole strings, ``*`` within one part of a path, ``**`` across parts.

Not GitLab's own rule for protections, which is in :mod:`juniperd.issuer.protection`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

_ALLOWED = re.compile(r"[A-Za-z0-9_./@ -][A-Za-z0-9_./@ *-]*")
_STARS = re.compile(r"(\*\*|\*)")
MOST_STARS = 8
"""A pattern of more wildcards than this is a mistake."""


def flaw(pattern: str) -> str | None:
    """What makes a pattern unusable, or None: it begins with a literal and holds no foreign character."""
    if not pattern:
        return "the pattern is empty"
    if pattern.startswith("*"):
        return f"the pattern '{pattern}' is not anchored: begin it with a literal, as in review/*"
    if not _ALLOWED.fullmatch(pattern):
        return (
            f"the pattern '{pattern}' holds a character that no pattern has: only letters, digits and _./@- * are used"
        )
    if "***" in pattern:
        return f"the pattern '{pattern}' holds more than two stars in a row"
    if len(_STARS.findall(pattern)) > MOST_STARS:
        return f"the pattern '{pattern}' holds more than {MOST_STARS} wildcards"
    return None


def is_literal(pattern: str) -> bool:
    """Whether only one string matches."""
    return "*" not in pattern


def as_re2(pattern: str) -> str:
    """The same as a regular expression of RE2, for a relying party that matches by itself; no backslash in it."""
    stars = {"*": "[^/]*", "**": "(?s:.*)"}
    return "^" + "".join(stars.get(part, part.replace(".", "[.]")) for part in _STARS.split(pattern)) + "$"


@lru_cache(maxsize=20_000)
def _parts(pattern: str) -> tuple[str, ...]:
    """The pattern's literals with the stars between them: every other part is one."""
    return tuple(_STARS.split(pattern))


def matches(pattern: str, text: str, *, fold: bool = False) -> bool:
    """Whether the whole of ``text`` matches; ``fold`` disregards case, which production's patterns alone do.

    Kept are the places of ``text`` that the pattern's parts so far can end at: one pass over the text for each part,
    however many ways there are to match.
    """
    if fold:
        pattern, text = pattern.casefold(), text.casefold()
    first, *rest = _parts(pattern)
    ends = {len(first)} if text.startswith(first) else set()
    for star, literal in zip(rest[::2], rest[1::2], strict=True):
        starts = _stretched(ends, text, crossing=star == "**")
        ends = {at + len(literal) for at in starts if text.startswith(literal, at)}
        if not ends:
            return False
    return len(text) in ends


def _stretched(ends: Iterable[int], text: str, *, crossing: bool) -> Iterator[int]:
    """Every place a star can end at that begins at one of ``ends``; only a double one goes past a slash."""
    begun = frozenset(ends)
    running = False
    for at in range(min(begun, default=len(text) + 1), len(text) + 1):
        running = at in begun or (running and (crossing or text[at - 1] != "/"))
        if running:
            yield at
