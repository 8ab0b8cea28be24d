"""What an endpoint says when it says no: RFC 6749 section 5.2 and RFC 8693 section 2.2.2, in one value."""

from __future__ import annotations

from collections.abc import Mapping

from juniperd.issuer.verdict import Refused

RETRY_AFTER = 5
"""Seconds a caller waits before it asks again, where asking again may help."""


class OAuthError(Exception):
    """An answer other than the one hoped for; ``refusal`` is the part that a verified person may see."""

    def __init__(
        self,
        error: str,
        description: str,
        *,
        status: int = 400,
        retry_after: int | None = None,
        refusal: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status
        self.retry_after = retry_after
        self.refusal = refusal

    def body(self) -> dict[str, object]:
        """The JSON of the answer."""
        said: dict[str, object] = {"error": self.error, "error_description": self.description}
        return said if self.refusal is None else {**said, "refusal": self.refusal}


def too_many() -> OAuthError:
    """What a limit says, before and after it is known who asks."""
    return OAuthError("temporarily_unavailable", "too many requests; try again in a minute", status=429, retry_after=60)


_ERRORS = {
    "unknown_scope": "invalid_scope",
    "unknown_target": "invalid_target",
    "token_type": "invalid_request",
    "minter_refused": "invalid_target",
}
_ABOUT_SIGN_IN = frozenset(
    {
        "auth_time_missing",
        "sign_in_old",
        "not_pinned",
        "pinned_elsewhere",
        "freed",
        "nonce",
        "link_missing",
        "link_changed",
        "link_taken",
        "job_bound",
    }
)
_ABOUT_SESSION = frozenset(
    {
        "session_unknown",
        "session_elsewhere",
        "session_ended",
        "session_ending",
        "session_narrow",
        "session_scope",
        "session_longest",
        "session_many",
    }
)
"""What a session's owner hears of it, whatever GitLab says of them."""
_PASSING = {
    "policy_changed": "the policy was changed meanwhile; try again",
    "state": "the issuer's table of links cannot be read now; try again",
    "hung_up": "nobody waited for the deploy token any more; try again",
    "order_many": "too many deploy tokens of this project are out to you; run: juniper logout, or wait until some have ended",
    "order_ended": "the deploy token was ended before it could be handed over; try again",
}

_OF_GITLAB = frozenset({"gitlab_unreachable", "reader_token"})


def tells(refused: Refused, *, entitled: bool) -> bool:
    """Whether :func:`of` says the reason."""
    return entitled or refused.passing or refused.reason in _ABOUT_SIGN_IN | _ABOUT_SESSION


def of(refused: Refused, *, decision: str, entitled: bool) -> OAuthError:
    """A verdict's no as an answer: the reason for who may know it, ``refused`` and an id for everybody else."""
    if refused.passing:
        busy: dict[str, object] = {"id": decision, "reason": refused.reason, "rule": refused.rule}
        text = _passing(refused)
        return OAuthError("temporarily_unavailable", text, status=503, retry_after=RETRY_AFTER, refusal=busy)
    told = tells(refused, entitled=entitled)
    shown: dict[str, object] = {
        "id": decision,
        "reason": refused.reason if told else None,
        "rule": refused.rule if told else None,
    }
    text = refused.text if told else f"refused, decision {decision}; ask who runs the issuer"
    if refused.reason in _ABOUT_SIGN_IN:
        return OAuthError("invalid_request", text, refusal=shown)
    if told and refused.reason in _ERRORS:
        return OAuthError(_ERRORS[refused.reason], text, refusal=shown)
    return OAuthError("access_denied", text, status=403, refusal=shown)


def _passing(refused: Refused) -> str:
    """Why there is no verdict now; which host failed, and how, is said to everybody, for it says nothing of anybody."""
    if refused.reason in _PASSING:
        return _PASSING[refused.reason]
    if refused.reason == "minter_late":
        return f"the minter cannot be asked now: {refused.text}; try again"
    if refused.reason not in _OF_GITLAB:
        return "GitLab cannot be asked now; try again"
    why = refused.text if "; " in refused.text else f"{refused.text}; try again"
    return f"GitLab cannot be asked now: {why}"
