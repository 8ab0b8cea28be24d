"""Keys: an issuer's published ones, and the ones we sign with (RFC 7517, 7518, 7638)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from juniperd.errors import TokenRejected
from juniperd.jose.form import b64url, reject
from juniperd.model import Secret

MAX_KEYS = 100

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class KeyUnknown(TokenRejected):
    """The key set has no key of that ``kid``: worth one fresh look at the issuer's keys."""


def thumbprint(jwk: Mapping[str, object]) -> str:
    """RFC 7638: SHA-256 over the required members in lexical order."""
    names = ("e", "kty", "n") if jwk["kty"] == "RSA" else ("crv", "kty", "x", "y")
    canonical = json.dumps({n: jwk[n] for n in names}, separators=(",", ":"), sort_keys=True)
    return b64url(hashlib.sha256(canonical.encode()).digest())


def _integer_text(value: int, length: int | None = None) -> str:
    return b64url(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


def public_jwk(key: PublicKey) -> dict[str, str]:
    """The public members of a key, and only those (RFC 7518 section 6)."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _integer_text(numbers.n), "e": _integer_text(numbers.e)}
    point = key.public_numbers()
    return {"kty": "EC", "crv": "P-256", "x": _integer_text(point.x, 32), "y": _integer_text(point.y, 32)}


def load_public(jwk: Mapping[str, object], rule: str) -> tuple[PublicKey, str]:
    """The key and the one algorithm it is used with here; RSA under 2048 bits and other curves are refused."""
    if "d" in jwk or "k" in jwk:
        raise reject(rule, "the key carries private material")
    try:
        key = jwt.PyJWK(cast("dict[str, Any]", dict(jwk)), algorithm=_algorithm_of(jwk, rule)).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        raise reject(rule, "the key cannot be read") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return key, "RS256"
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key, "ES256"
    raise reject(rule, "the key is too weak or of a kind nobody uses here")


def _algorithm_of(jwk: Mapping[str, object], rule: str) -> str:
    natural = {"RSA": "RS256", "EC": "ES256"}.get(str(jwk.get("kty")))
    if natural is None or jwk.get("alg", natural) != natural:
        raise reject(rule, "the key is of a kind or for an algorithm nobody uses here")
    return natural


@dataclass(frozen=True, slots=True)
class _Key:
    public: PublicKey
    algorithm: str


@dataclass(frozen=True, slots=True)
class KeySet:
    """An issuer's verification keys by ``kid`` (RFC 7517); a set that names one ``kid`` twice is refused whole."""

    _keys: Mapping[str, _Key]

    @classmethod
    def parse(cls, document: object) -> KeySet:
        """The keys of a JWKS that may verify signatures; keys for anything else are passed over."""
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list) or not 0 < len(entries) <= MAX_KEYS:
            raise reject("jwks", f"a key set holds 1 to {MAX_KEYS} keys")
        keys: dict[str, _Key] = {}
        named: set[str] = set()
        for entry in entries:
            if not isinstance(entry, dict):
                raise reject("jwks", "a key in the key set is not an object")
            kid = entry.get("kid", "")
            if not isinstance(kid, str) or kid in named:
                raise reject("jwks", "the key set names a kid twice or not as text")
            named.add(kid)
            if (key := _usable(entry)) is not None:
                keys[kid] = key
        return cls(keys)

    @property
    def kids(self) -> frozenset[str]:
        """The names of the keys that can verify."""
        return frozenset(self._keys)

    def find(self, kid: str | None, algorithm: str) -> PublicKey:
        """The key a header names; without a name only where there is no choice."""
        if kid is None:
            if len(self._keys) != 1:
                raise reject("kid", "the token names no key and the issuer has several")
            (key,) = self._keys.values()
        elif (named := self._keys.get(kid)) is None:
            raise KeyUnknown("kid", "the token is signed with a key its issuer does not publish")
        else:
            key = named
        if key.algorithm != algorithm:
            raise reject("alg", "the token's algorithm is not the one of its key")
        return key.public


def _usable(jwk: Mapping[str, object]) -> _Key | None:
    """A key fit for verifying signatures, or None: ``use``, ``key_ops``, kind and strength (RFC 7517 section 4)."""
    if jwk.get("use", "sig") != "sig":
        return None
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        return _Key(*load_public(jwk, "jwks"))
    except TokenRejected:
        return None


class SigningKey:
    """A private key that signs with one algorithm; its ``kid`` is its RFC 7638 thumbprint."""

    __slots__ = ("_private", "algorithm", "kid")

    def __init__(self, private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self.algorithm = "RS256" if isinstance(private, rsa.RSAPrivateKey) else "ES256"
        self.kid = thumbprint(public_jwk(private.public_key()))

    @classmethod
    def generate_rs256(cls) -> SigningKey:
        """RSA 2048: the one kind that every relying party takes."""
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=2048))

    @classmethod
    def generate_es256(cls) -> SigningKey:
        """P-256: quick to make, for DPoP."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """A key that :meth:`to_pem` wrote; anything else is refused."""
        try:
            private = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise reject("key", "the stored key cannot be read") from None
        if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= 2048:
            return cls(private)
        if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1):
            return cls(private)
        raise reject("key", "the stored key is too weak or of a kind nobody uses here")

    def to_pem(self) -> Secret:
        """PKCS #8, unencrypted: for a keyring entry or a file of mode 0600."""
        pem = self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Secret(pem.decode())

    def public_jwk(self) -> dict[str, str]:
        """The public key as it stands in a JWKS."""
        members = public_jwk(self._private.public_key())
        return {**members, "use": "sig", "alg": self.algorithm, "kid": self.kid}

    def sign(self, claims: Mapping[str, object], *, typ: str = "JWT") -> str:
        """A compact JWS over ``claims`` (RFC 7515 section 3.1)."""
        headers = {"typ": typ, "kid": self.kid}
        return jwt.encode(dict(claims), self._private, algorithm=self.algorithm, headers=headers)

    def prove(self, claims: Mapping[str, object]) -> str:
        """A JWS that carries its own public key, as a DPoP proof does (RFC 9449 section 4.2)."""
        headers = {"typ": "dpop+jwt", "jwk": public_jwk(self._private.public_key())}
        return jwt.encode(dict(claims), self._private, algorithm=self.algorithm, headers=headers)


def check_signature(token: str, key: PublicKey, algorithm: str) -> None:
    """Refuse a token whose signature does not fit ``key`` under exactly this algorithm."""
    try:
        jwt.api_jws.decode(token, key, algorithms=[algorithm])
    except jwt.PyJWTError:
        raise reject("signature", "the token's signature does not fit its key") from None
