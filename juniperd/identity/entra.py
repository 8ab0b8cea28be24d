"""Microsoft Entra, one tenant: its own words for no, its numbered errors, and the way round a blocked device flow.

The numbers serve texts alone. Microsoft may change them, and then a person reads what the provider said instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from juniperd.errors import one_line
from juniperd.identity import ErrorRead, oidc

KIND = "entra"
DECLINED = frozenset({"authorization_declined", "access_denied"})
EXPIRED = frozenset({"expired_token", "code_expired"})
ENDED = frozenset({"invalid_grant", "interaction_required", "login_required", "consent_required"})
GRACE = math.inf
"""A used refresh token lives on."""
UNCONFIRMED = "run: juniper login (where the page said that access is blocked: juniper login --browser)"
AUTH_TIME = "add the optional claim auth_time to the ID tokens of juniper's application at Microsoft Entra"
endpoints = oidc.endpoints
"""A tenant's metadata names a device endpoint and no revocation: only an administrator revokes a session there."""

_BLOCKED = "your tenant blocks device code"
_BROWSER = "use the browser: juniper login --browser"
_LOGIN = "run: juniper login"
_ADMINISTRATOR = "ask your Microsoft Entra administrator to"
_NUMBERS: Mapping[int, tuple[str, str]] = {
    50020: ("the account is of another tenant", "sign in with your company's account: juniper login"),
    50034: ("the account is not in this tenant", "sign in with your company's account: juniper login"),
    50053: ("the account is locked", f"{_ADMINISTRATOR} unlock it"),
    50057: ("the account is disabled", f"{_ADMINISTRATOR} enable it"),
    50076: ("a second factor is asked for", _LOGIN),
    50078: ("the second factor has run out", _LOGIN),
    50079: ("a second factor must be registered", "register one at https://aka.ms/mfasetup, then run: juniper login"),
    50105: ("you are not assigned to juniper's application", f"{_ADMINISTRATOR} assign you to it"),
    50173: ("the sessions of this account were revoked", _LOGIN),
    65001: ("nobody consented to juniper's application", f"{_ADMINISTRATOR} grant consent for it"),
    70008: ("the sign-in has run out", _LOGIN),
    70043: ("the sign-in is older than Conditional Access allows", _LOGIN),
    700016: ("the tenant does not know juniper's application", f"{_ADMINISTRATOR} compare its client id and tenant"),
    700082: ("the sign-in was not used for too long", _LOGIN),
    7000218: ("juniper's application is no public client", f"{_ADMINISTRATOR} allow public client flows for it"),
    90002: ("there is no such tenant", "ask whoever runs the issuer to check the identity's tenant id"),
    **dict.fromkeys((53000, 53001, 53002, 53003, 530035), (_BLOCKED, _BROWSER)),
}
"""What the codes mean to a person. Conditional Access and security defaults answer 53xxx and 530035."""

_CONDITIONAL = (
    "Conditional Access does not allow this sign-in",
    f"{_ADMINISTRATOR} look up which policy stopped it, then run: juniper login --browser",
)
_TAIL = re.compile(r"\s*(?:Trace|Correlation) ID:.*", re.DOTALL)


def error(body: object, fallback: str) -> ErrorRead:
    """``error_codes`` and ``trace_id`` in one line: by these an administrator finds the attempt in the sign-in log."""
    if not isinstance(body, dict) or not isinstance(body.get("error"), str):
        return ErrorRead(fallback)
    code, text = body["error"], body.get("error_description")
    detail = one_line(_TAIL.sub("", text), 200) if isinstance(text, str) else ""
    said = one_line(f"{code}: {detail}" if detail else code, 300)
    numbers = _codes(body, detail)
    if numbers and "AADSTS" not in said:
        said += f" AADSTS{numbers[0]}"
    trace = body.get("trace_id")
    if isinstance(trace, str) and trace:
        said += f", trace id {one_line(trace, 60)}"
    problem, cure = next((_NUMBERS[n] for n in numbers if n in _NUMBERS), (None, None))
    if problem is None and code == "bad_verification_code":
        problem, cure = "Microsoft Entra does not know the code any more", _LOGIN
    return ErrorRead(said, problem, cure)


def browser_error(body: object, fallback: str) -> ErrorRead:
    """The same where no device code is to blame, and with the flow's own cure."""
    read = error(body, fallback)
    if read.problem == _BLOCKED:
        return ErrorRead(read.said, *_CONDITIONAL)
    cure = read.cure and re.sub(r"juniper login$", "juniper login --browser", read.cure)
    return ErrorRead(read.said, read.problem, cure)


def _codes(body: Mapping[str, object], detail: str) -> list[int]:
    """The numbers of an answer; in its text where it lists none."""
    listed = body.get("error_codes")
    numbers = [n for n in listed if isinstance(n, int)] if isinstance(listed, list) else []
    return numbers or [int(n) for n in re.findall(r"AADSTS(\d{4,9})", detail)]
