"""Any OpenID Connect provider that keeps to the letter of its standards: endpoints come from its metadata."""

from __future__ import annotations

from collections.abc import Mapping

from juniperd.errors import ConfigError
from juniperd.identity import Endpoints, ErrorRead
from juniperd.identity.device import described

KIND = "oidc"
DECLINED = frozenset({"access_denied"})
EXPIRED = frozenset({"expired_token"})
CONSENT = True
"""Core section 11: without ``prompt=consent`` a request for ``offline_access`` is ignored. Others need no such word."""
ENDED = frozenset({"invalid_grant"})
GRACE = 0.0
"""Nothing says that there is any."""
UNCONFIRMED = "run: juniper login"
AUTH_TIME = "make the provider send the claim auth_time"


def endpoints(metadata: Mapping[str, object]) -> Endpoints:
    """RFC 8414 section 2, with what RFC 8628 section 4, RFC 9207 section 3 and RFC 9449 section 5.1 add."""
    token = _url(metadata, "token_endpoint")
    if token is None:
        msg = "the identity provider's discovery document names no token endpoint"
        raise ConfigError(msg, "check the identity's issuer URL in the issuer's configuration")
    return Endpoints(
        token,
        _url(metadata, "device_authorization_endpoint"),
        _url(metadata, "revocation_endpoint"),
        _url(metadata, "authorization_endpoint"),
        answers_with_issuer=metadata.get("authorization_response_iss_parameter_supported") is True,
        takes_proofs=_lists(metadata, "dpop_signing_alg_values_supported", "ES256"),
    )


def error(body: object, fallback: str) -> ErrorRead:
    """RFC 6749 section 5.2, and nothing beyond it."""
    return ErrorRead(described(body, fallback))


browser_error = error


def _lists(metadata: Mapping[str, object], name: str, wanted: str) -> bool:
    values = metadata.get(name)
    return isinstance(values, list) and wanted in values


def _url(metadata: Mapping[str, object], name: str) -> str | None:
    value = metadata.get(name)
    return value if isinstance(value, str) and value else None
