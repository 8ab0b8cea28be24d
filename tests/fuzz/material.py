"""A key for the tokens and proofs whose forgery would be a finding: the seeds whose names say ``good`` were made with it."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from juniperd import jose
from juniperd.jose import KeySet, SigningKey

SEEDS = Path(__file__).with_name("seeds")
NOW = 1_800_000_000.0
_PRIVATE = ec.derive_private_key(20_261_125, ec.SECP256R1())
KEY = SigningKey(_PRIVATE)
KEYS = KeySet.parse({"keys": [KEY.public_jwk()]})
PROFILE = jose.Profile(
    use="test",
    issuer="https://idp",
    audiences=frozenset({"juniper"}),
    algorithms=frozenset({"ES256"}),
)


class Call(TypedDict):
    """The call that a proof must be made for."""

    method: str
    url: str
    now: float
    access_token: str | None


CALL: Call = {"method": "POST", "url": "https://issuer/token", "now": NOW, "access_token": "t"}


def good(target: str) -> frozenset[str]:
    """What a target's reader takes, and nothing else."""
    return frozenset(path.read_text() for path in (SEEDS / target).glob("good*"))


def signed(data: bytes) -> str:
    """A token whose header and claims are the two halves of some bytes, whatever they are, under a signature that fits.

    What comes after the check of a signature is read like this too.
    """
    header, _zero, claims = data.partition(b"\0")
    said = f"{jose.b64url(header)}.{jose.b64url(claims)}"
    r, s = utils.decode_dss_signature(_PRIVATE.sign(said.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{said}.{jose.b64url(r.to_bytes(32) + s.to_bytes(32))}"
