"""RSA keys with which a double signs, and the key set it publishes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

KEY_BITS: Final = 2048


def _number(value: int) -> str:
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class SigningKey:
    """One RS256 key; its `kid` is the RFC 7638 thumbprint."""

    def __init__(self) -> None:
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        numbers = self.private.public_key().public_numbers()
        self._public = {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}
        digest = hashlib.sha256(json.dumps(self._public, separators=(",", ":"), sort_keys=True).encode()).digest()
        self.kid = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as in a key set."""
        return {**self._public, "kid": self.kid, "use": "sig", "alg": "RS256"}

    def sign(self, claims: Mapping[str, object]) -> str:
        """A JWT with this key's `kid`."""
        return jwt.encode(dict(claims), self.private, algorithm="RS256", headers={"kid": self.kid})


class SigningKeys:
    """The keys in the published set, newest first; the newest signs."""

    def __init__(self) -> None:
        self.keys = [SigningKey()]

    def rotate(self, *, keep: bool = True) -> str:
        """Sign with a new key from now on; `keep=False` withdraws the old ones at once, as after a theft."""
        self.keys = [SigningKey(), *(self.keys if keep else [])]
        return self.keys[0].kid

    def sign(self, claims: Mapping[str, object]) -> str:
        """A JWT by the newest key."""
        return self.keys[0].sign(claims)

    def jwks(self) -> dict[str, object]:
        """The key set."""
        return {"keys": [key.jwk for key in self.keys]}
