"""``--name value`` pairs of a helper's arguments, each at most once, whose values are names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from juniperd.errors import ProtocolError, TargetUnknown


def read(words: Sequence[str], known: Mapping[str, re.Pattern[str]], *, needed: str, usage: str) -> dict[str, str]:
    """The values by option; ``usage`` is the cure of what cannot be understood, or of ``needed`` that is not there."""
    found: dict[str, str] = {}
    for name, value in zip(words[::2], words[1::2], strict=False):
        if name not in known or name in found:
            msg = f"'{name[:80]}' is not understood here"
            raise ProtocolError(msg, usage)
        if not known[name].fullmatch(value):
            msg = f"'{value[:80]}' is not a name for {name}"
            raise TargetUnknown(msg, usage)
        found[name] = value
    if len(words) % 2 or needed not in found:
        msg = f"no {needed.removeprefix('--')} is named" if needed not in found else f"{words[-1][:80]} needs a value"
        raise ProtocolError(msg, usage)
    return found
