"""What a laptop asks of ``/token`` (RFC 8693 section 2.1): a form in, a value out, and each flaw named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from juniperd.errors import one_line
from juniperd.issuer.refusal import OAuthError

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"
DEPLOY_TOKEN = "urn:juniper:params:oauth:token-type:gitlab-deploy-token"
_REQUIRED = ("grant_type", "subject_token", "subject_token_type", "scope")
_OPTIONAL = ("requested_token_type", "audience", "environment", "ref", "session", "claimed_program", "claimed_host")
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The parameters of one request, each at most once; selections and hearsay, no facts."""

    subject_token: str
    scope: str
    audience: str | None = None
    environment: str | None = None
    ref: str | None = None
    session: str | None = None
    claimed_program: str | None = None
    claimed_host: str | None = None
    requested_token_type: str = JWT


def parse(form: Sequence[tuple[str, str]]) -> TokenRequest:
    """The request, or ``invalid_request`` naming the parameter that is wrong."""
    given = _once(form)
    if given.get("grant_type", GRANT_TYPE) != GRANT_TYPE:
        raise OAuthError("unsupported_grant_type", "grant_type must be token exchange (RFC 8693)")
    for name in _REQUIRED:
        if not given.get(name):
            raise OAuthError("invalid_request", f"{name} is missing")
    if given["subject_token_type"] != ID_TOKEN:
        raise OAuthError("invalid_request", "subject_token_type must be an ID token's")
    if given.get("requested_token_type", JWT) not in (JWT, DEPLOY_TOKEN):
        raise OAuthError("invalid_request", "requested_token_type must be a JWT's or a deploy token's")
    if " " in given["scope"]:
        raise OAuthError("invalid_scope", "ask for one scope at a time")
    chosen = {name: given[name] for name in (*_OPTIONAL, "subject_token", "scope") if name in given}
    return TokenRequest(**chosen)


def _once(form: Sequence[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in form:
        if name not in _REQUIRED + _OPTIONAL:
            raise OAuthError("invalid_request", f"unknown parameter '{one_line(name, 40)}'")
        if name in given:
            raise OAuthError("invalid_request", f"parameter '{name}' stands twice")
        if name != "subject_token" and len(value) > _LONGEST:
            raise OAuthError("invalid_request", f"parameter '{name}' is longer than {_LONGEST} characters")
        given[name] = value
    return given
