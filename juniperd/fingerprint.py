"""The name of a certificate authority: SHA-256 over its certificates in DER, in the order of its PEM text.

For a single certificate that is what ``openssl x509 -fingerprint -sha256`` shows, without the colons.
"""

from __future__ import annotations

import base64
import hashlib

MAX_PEM = 65_536
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def of_pem(text: str) -> str | None:
    """The fingerprint in lower-case hex; ``None`` for a text that holds anything but certificates."""
    before, *blocks = text.split(_BEGIN) if len(text) <= MAX_PEM else ("",)
    try:
        certificates = [_der(block) for block in blocks]
    except ValueError:
        return None
    if before.strip() or not certificates:
        return None
    return hashlib.sha256(b"".join(certificates)).hexdigest()


def _der(block: str) -> bytes:
    """What stands between two lines of PEM, without a pattern: blanks by the thousand must cost no more than others."""
    body, end, after = block.partition(_END)
    certificate = base64.b64decode("".join(body.split()), validate=True)
    if not end or after.strip() or not certificate:
        raise ValueError(block[:20])
    return certificate


def normal(text: str) -> str:
    """A fingerprint as people write it, with or without colons, in lower-case hex."""
    return text.replace(":", "").lower()
