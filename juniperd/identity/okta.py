"""Okta, org and custom authorization servers alike: standard endpoints, and the noes of its administrator."""

from __future__ import annotations

from collections.abc import Mapping

from juniperd.errors import one_line
from juniperd.identity import ErrorRead, oidc
from juniperd.identity.device import described

KIND = "okta"
DECLINED = frozenset({"access_denied"})
EXPIRED = frozenset({"expired_token"})
ENDED = frozenset({"invalid_grant"})
GRACE = 30.0
"""As Okta sets it up by default; an administrator may choose 0 to 60."""
UNCONFIRMED = "run: juniper login"
AUTH_TIME = "ask your Okta administrator why its ID tokens carry no auth_time"
endpoints = oidc.endpoints

_ADMINISTRATOR = "ask your Okta administrator to"
_NOES = (
    (
        "policy evaluation failed",
        "no access policy of the authorization server allows this sign-in",
        "ask your Okta administrator for an access policy rule that allows {grant} to juniper's application",
    ),
    (
        "not assigned",
        "you are not assigned to juniper's application",
        f"{_ADMINISTRATOR} assign you, then run: juniper login{{flag}}",
    ),
    (
        "grant type",
        "juniper's application may not use this grant",
        f"{_ADMINISTRATOR} tick {{boxes}} and Refresh Token for the application",
    ),
)
"""Words in Okta's descriptions, which are all that tells its administrator's no from the person's."""
_DEVICE = {"grant": "the device grant", "flag": "", "boxes": "Device Authorization"}
_BROWSER = {"grant": "the code grant", "flag": " --browser", "boxes": "Authorization Code"}


def error(body: object, fallback: str) -> ErrorRead:
    """Of a device sign-in."""
    return _read(body, fallback, _DEVICE)


def browser_error(body: object, fallback: str) -> ErrorRead:
    """Of a sign-in by browser."""
    return _read(body, fallback, _BROWSER)


def _read(body: object, fallback: str, flow: Mapping[str, str]) -> ErrorRead:
    """RFC 6749 section 5.2, or the shape of Okta's management API, which some of its refusals have."""
    if not isinstance(body, dict):
        return ErrorRead(fallback)
    summary, code = body.get("errorSummary"), body.get("errorCode")
    if "error" not in body and isinstance(summary, str) and isinstance(code, str):
        said = one_line(f"{code}: {summary}", 300) + _id(body.get("errorId"))
        text = summary
    else:
        said = described(body, fallback)
        text = str(body.get("error_description") or "")
    for words, problem, cure in _NOES:
        if words in text.lower():
            return ErrorRead(said, problem, cure.format_map(flow))
    return ErrorRead(said)


def _id(value: object) -> str:
    """What an administrator finds the request by in Okta's System Log."""
    return f", error id {one_line(value, 60)}" if isinstance(value, str) and value else ""
