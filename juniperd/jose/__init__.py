"""The one strict verifier and signer: subject tokens, DPoP proofs and the tokens we issue.

Keys are handed in; nothing here fetches, and nothing here reads a clock.
"""

from juniperd.jose.dpop import PROOF_WINDOW, Proof, dpop_proof, token_hash, verify_dpop
from juniperd.jose.form import LEEWAY, MAX_TOKEN, b64url, seconds
from juniperd.jose.keys import KeySet, KeyUnknown, SigningKey, public_jwk, thumbprint
from juniperd.jose.tokens import (
    MAX_PERSON_AGE,
    MAX_PERSON_LIFE,
    Header,
    Profile,
    VerifiedClaims,
    job_profile,
    own_profile,
    peek,
    person_profile,
    verify,
)

__all__ = [
    "LEEWAY",
    "MAX_PERSON_AGE",
    "MAX_PERSON_LIFE",
    "MAX_TOKEN",
    "PROOF_WINDOW",
    "Header",
    "KeySet",
    "KeyUnknown",
    "Profile",
    "Proof",
    "SigningKey",
    "VerifiedClaims",
    "b64url",
    "dpop_proof",
    "job_profile",
    "own_profile",
    "peek",
    "person_profile",
    "public_jwk",
    "seconds",
    "thumbprint",
    "token_hash",
    "verify",
    "verify_dpop",
]
