"""Makes ``docs/vectors``: ``python -m tests.docs.vectors``; each time with keys of their own, which nobody keeps."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

FOLDER = Path(__file__).parents[2] / "docs" / "vectors"
NOW = 1_790_000_000
ISSUER = "https://juniper.example.com"
AUDIENCE = "https://billing.staging.example.com"
SCOPE = "billing-api-reader"
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": f"scope:{SCOPE}:origin:laptop:project_id:42",
    "aud": AUDIENCE,
    "iat": NOW - 60,
    "nbf": NOW - 60,
    "exp": NOW + 3540,
    "jti": "0d8f3a52-vector",
    "client_id": "juniper",
    "scope": SCOPE,
    "preferred_username": "7-developer",
    "user_id": "7",
    "juniper_origin": "laptop",
    "juniper_scope": SCOPE,
}
Vector = tuple[str, bool, str, str]


def signed(key: RSAKey, *, typ: str = "at+jwt", **claims: Any) -> str:
    said = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return jwt.encode({"alg": "RS256", "typ": typ, "kid": key.kid}, said, key)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unsigned(**header: str | None) -> str:
    return ".".join(_b64(json.dumps(part).encode()) for part in ({"typ": "at+jwt", **header}, CLAIMS))


def _by_public_key(key: RSAKey) -> str:
    """HMAC with the public key as its secret: what a verifier accepts that lets the token choose the algorithm.

    By hand, because libraries refuse to make one.
    """
    text = _unsigned(alg="HS256", kid=key.kid)
    return f"{text}.{_b64(hmac.digest(key.as_pem(private=False), text.encode(), 'sha256'))}"


def vectors(key: RSAKey, other: RSAKey) -> Iterator[Vector]:
    """Name, validity, reason and token of each."""
    yield "valid", True, "as the issuer signs it", signed(key)
    yield "valid-session", True, "held in a debugging session", signed(key, juniper_session="s-1")
    yield "wrong-typ", False, "typ is JWT: a token for something else", signed(key, typ="JWT")
    yield "wrong-aud", False, "for another API", signed(key, aud="https://ledger.staging.example.com")
    both = [AUDIENCE, "https://ledger.staging.example.com"]
    yield "two-auds", False, "for another API too; the issuer names one", signed(key, aud=both)
    yield "expired", False, "ended two minutes ago", signed(key, exp=NOW - 120, iat=NOW - 3720, nbf=NOW - 3720)
    yield "endless", False, "has no exp", signed(key, exp=None)
    yield "early", False, "counts in ten minutes", signed(key, nbf=NOW + 600)
    yield "other-issuer", False, "iss is somebody else's", signed(key, iss="https://juniper.example.org")
    yield "other-key", False, "a key that is not in the JWKS", signed(other)
    yield "other-scope", False, "a scope that this API does not serve", signed(key, scope="billing-deployer")
    yield "alg-none", False, "no signature at all", _unsigned(alg="none") + "."
    yield "alg-hs256", False, "HMAC with the public key as its secret", _by_public_key(key)
    head, _, signature = signed(key).split(".")
    changed = _b64(json.dumps({**CLAIMS, "user_id": "8"}).encode())
    yield "changed", False, "the payload is not what was signed", f"{head}.{changed}.{signature}"


def write(folder: Path) -> None:
    """Write them all."""
    key, other = (RSAKey.generate_key(2048, auto_kid=True) for _ in range(2))
    folder.mkdir(exist_ok=True)
    public = key.as_dict(private=False) | {"use": "sig", "alg": "RS256"}
    (folder / "keys.json").write_text(json.dumps({"keys": [public]}, indent=2) + "\n")
    for name, valid, why, token in vectors(key, other):
        shown = {"valid": valid, "why": why, "issuer": ISSUER, "audience": AUDIENCE, "scope": SCOPE, "now": NOW}
        (folder / f"{name}.json").write_text(json.dumps(shown | {"token": token}, indent=2) + "\n")


if __name__ == "__main__":
    write(FOLDER)
