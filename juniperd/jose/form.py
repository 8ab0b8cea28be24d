"""Compact JWS text taken apart: size, form and JSON before anything is believed (RFC 7515, 8725)."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping

from juniperd.errors import TokenRejected

MAX_TOKEN = 16_384
"""Characters; a longer token is refused before a byte of it is decoded."""
LEEWAY = 60.0
"""Seconds two honest clocks may differ; the one place that says so."""


def reject(rule: str, message: str) -> TokenRejected:
    """The refusal of a token: a stable word for the rule, and a sentence."""
    return TokenRejected(rule, message)


def b64url(data: bytes) -> str:
    """Unpadded base64url (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(value: str, rule: str) -> bytes:
    """The bytes, or a refusal: padding, foreign characters and non-canonical endings are not base64url."""
    try:
        data = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise reject(rule, "a part of the token is not base64url") from None
    if not hmac.compare_digest(b64url(data).encode(), value.encode()):
        raise reject(rule, "a part of the token is not canonical base64url")
    return data


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = "a name stands twice"
        raise ValueError(msg)
    return found


def json_object(data: bytes, rule: str) -> dict[str, object]:
    """One JSON object whose names are unique, or a refusal."""
    try:
        value = json.loads(data, object_pairs_hook=_unique)
        # Half characters (lone surrogates) come through JSON's escapes and can be written nowhere, a digest included.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise reject(rule, "a part of the token is not one JSON object with unique names") from None
    if not isinstance(value, dict):
        raise reject(rule, "a part of the token is not a JSON object")
    return value


def split(token: str) -> tuple[dict[str, object], dict[str, object]]:
    """Header and claims of a compact JWS (RFC 7515 section 3.1), unverified, with every limit checked first."""
    if len(token) > MAX_TOKEN:
        raise reject("size", f"the token is longer than {MAX_TOKEN} characters")
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise reject("form", "the token is not three parts")
    head, payload, signature = (unb64url(part, "form") for part in parts)
    if not signature:
        raise reject("form", "the token has no signature")
    header = json_object(head, "form")
    if "crit" in header or "b64" in header:
        raise reject("crit", "the token asks for an extension nobody knows here")
    return header, json_object(payload, "form")


def text(value: object, rule: str, name: str) -> str:
    """A value that is text and not empty, or a refusal that names it."""
    if not isinstance(value, str) or not value:
        raise reject(rule, f"the token's {name} is missing or not text")
    return value


def media_type(header: Mapping[str, object]) -> str | None:
    """``typ`` as RFC 7515 section 4.1.9 compares it: without ``application/``, without case."""
    if "typ" not in header:
        return None
    return text(header["typ"], "typ", "typ").lower().removeprefix("application/")


def seconds(claims: Mapping[str, object], name: str) -> float:
    """A NumericDate claim (RFC 7519 section 2) as unix seconds; booleans, text and infinities are none."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise reject(name, f"the token's {name} is not a time")
    return float(value)
