"""What a laptop asks of ``/sessions``, read strictly: limits before anything else, unknown members refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from juniperd.errors import one_line
from juniperd.issuer.refusal import OAuthError
from juniperd.issuer.sessions import LONGEST
from juniperd.model import NAME

MOST_SCOPES = 50
"""Scopes named in one request."""
_LONGEST_TEXT = 512


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A session to be opened: selections, and in ``claimed_*`` hearsay for the trail."""

    project: str
    environment: str
    seconds: float
    ref: str | None = None
    scopes: tuple[str, ...] = ()
    claimed_reason: str | None = None
    claimed_host: str | None = None


_OPEN = frozenset({"project", "environment", "ref", "scopes", "seconds", "claimed_reason", "claimed_host"})


def to_open(body: bytes) -> OpenRequest:
    """``POST /sessions``."""
    given = _object(body, _OPEN)
    return OpenRequest(
        project=_text(given, "project", needed=True) or "",
        environment=_text(given, "environment", needed=True) or "",
        seconds=_seconds(given),
        ref=_text(given, "ref"),
        scopes=_scopes(given.get("scopes", [])),
        claimed_reason=_text(given, "claimed_reason"),
        claimed_host=_text(given, "claimed_host"),
    )


def to_extend(body: bytes) -> float:
    """``PATCH /sessions/ID``: the seconds to add."""
    return _seconds(_object(body, frozenset({"seconds"})))


def _object(body: bytes, names: frozenset[str]) -> Mapping[str, Any]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise OAuthError("invalid_request", "the body must be one JSON object")
    if unknown := sorted(given.keys() - names):
        raise OAuthError("invalid_request", f"unknown parameter '{one_line(unknown[0], 40)}'")
    return given


def _text(given: Mapping[str, Any], name: str, *, needed: bool = False) -> str | None:
    value = given.get(name)
    if value is None and not needed:
        return None
    if not isinstance(value, str) or not value or len(value) > _LONGEST_TEXT or not value.isprintable():
        raise OAuthError(
            "invalid_request", f"{name} must be one line of text, {_LONGEST_TEXT} characters at most; mend it"
        )
    return value


def _seconds(given: Mapping[str, Any]) -> float:
    value = given.get("seconds")
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LONGEST:
        raise OAuthError(
            "invalid_request",
            f"seconds must be a whole number, 1 to {LONGEST:.0f}; write {LONGEST / 3600:.0f}h or less",
        )
    return float(value)


def _scopes(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST_SCOPES:
        raise OAuthError("invalid_request", f"scopes must be a list of {MOST_SCOPES} names at most; name fewer")
    if not all(isinstance(name, str) and NAME.fullmatch(name) for name in value):
        raise OAuthError("invalid_request", "a scope's name is lower-case letters, digits and '-'; mend its name")
    return tuple(dict.fromkeys(value))
