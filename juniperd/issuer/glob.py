"""Policy's patterns: whole strings, ``*`` within one part of a path, ``**`` across parts.

Not GitLab's own rule for protections, which is in :mod:`juniperd.issuer.protection`.
"""

from __future__ import annotations

import re
from functools import lru_cache

_ALLOWED = re.compile(r"[A-Za-z0-9_./@ -][A-Za-z0-9_./@ *-]*")


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
    return None


def is_literal(pattern: str) -> bool:
    """Whether only one string matches."""
    return "*" not in pattern


@lru_cache(maxsize=20_000)
def _compiled(pattern: str, *, fold: bool) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    spoken = {"**": ".*", "*": "[^/]*"}
    expression = "".join(spoken.get(p, re.escape(p)) for p in parts)
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if fold else 0))


def matches(pattern: str, text: str, *, fold: bool = False) -> bool:
    """Whether the whole of ``text`` matches; ``fold`` disregards case, which production's patterns alone do."""
    if "*" not in pattern:
        return pattern.casefold() == text.casefold() if fold else pattern == text
    return _compiled(pattern, fold=fold).fullmatch(text) is not None
