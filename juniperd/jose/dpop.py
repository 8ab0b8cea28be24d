"""DPoP: proof that the caller holds the key of the sign-in (RFC 9449)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from juniperd.jose.form import b64url, media_type, reject, seconds, split, text
from juniperd.jose.keys import SigningKey, check_signature, load_public, public_jwk, thumbprint

PROOF_WINDOW = 60.0
"""Seconds either side in which a proof counts as now (section 11.1)."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A DPoP proof that was verified; whether its ``jti`` was seen before is for the caller to remember."""

    thumbprint: str
    jti: str
    issued_at: float


def token_hash(access_token: str) -> str:
    """The claim ``ath`` (RFC 9449 section 4.2)."""
    return b64url(hashlib.sha256(access_token.encode()).digest())


def dpop_proof(
    key: SigningKey,
    *,
    method: str,
    url: str,
    now: float,
    jti: str,
    access_token: str | None = None,
    nonce: str | None = None,
) -> str:
    """A proof that the holder of ``key`` makes this very call (RFC 9449 section 4.2); ``url`` without a query."""
    claims: dict[str, object] = {"jti": jti, "htm": method, "htu": url, "iat": int(now)}
    if nonce is not None:
        claims["nonce"] = nonce
    if access_token is not None:
        claims["ath"] = token_hash(access_token)
    return key.prove(claims)


def verify_dpop(proof: str, *, method: str, url: str, now: float, access_token: str | None = None) -> Proof:
    """The checks of RFC 9449 section 4.3; ``url`` is the one we are configured with, not one a request names."""
    header, claims = split(proof)
    if media_type(header) != "dpop+jwt":
        raise reject("typ", "the proof is not of type dpop+jwt")
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        raise reject("jwk", "the proof carries no key")
    key, algorithm = load_public(jwk, "jwk")
    if header.get("alg") != algorithm:
        raise reject("alg", "the proof's algorithm is not the one of its key")
    check_signature(proof, key, algorithm)
    _check_proof(claims, method=method, url=url, access_token=access_token)
    issued = seconds(claims, "iat")
    if abs(now - issued) > PROOF_WINDOW:
        raise reject("iat", "the proof was not made now; check this machine's clock")
    return Proof(thumbprint(public_jwk(key)), text(claims.get("jti"), "jti", "jti"), issued)


def _check_proof(claims: Mapping[str, object], *, method: str, url: str, access_token: str | None) -> None:
    if len(text(claims.get("jti"), "jti", "jti")) > 128:
        raise reject("jti", "the proof's jti is too long")
    if claims.get("htm") != method or claims.get("htu") != url:
        raise reject("htu", "the proof was made for another call")
    if access_token is None:
        return
    ath = text(claims.get("ath"), "ath", "ath")
    if not hmac.compare_digest(ath.encode(), token_hash(access_token).encode()):
        raise reject("ath", "the proof was made for another token")
