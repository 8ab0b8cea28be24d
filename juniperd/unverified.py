"""What a token says of itself, read without checking anything: for planning, display and error texts only.

Nothing is decided by these claims. Who decides uses :func:`juniperd.jose.verify`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import NewType

UnverifiedClaims = NewType("UnverifiedClaims", Mapping[str, object])
"""Claims that nobody checked; no function that decides takes this type."""


def read(token: str) -> UnverifiedClaims | None:
    """The claims of a compact JWS, or ``None`` where it is not one."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return UnverifiedClaims(payload) if isinstance(payload, dict) else None


def text(claims: UnverifiedClaims, name: str) -> str | None:
    """A claim that is text."""
    value = claims.get(name)
    return value if isinstance(value, str) and value else None


def moment(claims: UnverifiedClaims, name: str) -> float | None:
    """A claim that is a time (RFC 7519 NumericDate)."""
    value = claims.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**53:
        return float(value)
    return None
