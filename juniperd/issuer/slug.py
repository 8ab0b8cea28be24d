"""What GitLab calls an environment where only letters, digits and dashes may stand (``Gitlab::Slug::Environment``).

It cuts and suffixes a name that is not plain already, so that two environments are hardly ever called alike.
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 24
_KEPT = 17
_SUFFIX = 6
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def of_environment(name: str) -> str:
    """The slug that GitLab gives to an environment of this name when it makes it."""
    plain = re.sub(r"[^a-z0-9]", "-", name.lower())
    plain = plain if re.match(r"[a-z]", plain) else f"env-{plain}"
    plain = re.sub(r"-+", "-", plain)
    if plain == name and len(plain) <= LONGEST:
        return plain.removesuffix("-")
    kept = plain[:_KEPT]
    return f"{kept}{'' if kept.endswith('-') else '-'}{_base36(name)}"


def _base36(name: str) -> str:
    """The last digits of the name's SHA-256 in base 36."""
    number, digits = int(hashlib.sha256(name.encode()).hexdigest(), 16), ""
    while len(digits) < _SUFFIX:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
