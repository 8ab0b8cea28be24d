"""What a person may have meant, guessed among what they may see."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


def guess(given: str, known: Collection[str], command: str, otherwise: str) -> str:
    """The cure of a name that is none: the nearest of ``known`` with the command that takes it, else ``otherwise``."""
    close = get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]}? {command.format(close[0])}" if close else otherwise
