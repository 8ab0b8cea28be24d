"""The name of a certificate authority: SHA-256 over its certificates in DER, in the order of its PEM text.

For a single certificate that is what ``openssl x509 -fingerprint -sha256`` shows, without the colons.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

MAX_PEM = 65_536
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")


def of_pem(text: str) -> str | None:
    """The fingerprint in lower-case hex; ``None`` for a text that holds anything but certificates."""
    if len(text) > MAX_PEM or _BLOCK.sub("", text).strip():
        return None
    try:
        certificates = [base64.b64decode("".join(block.split()), validate=True) for block in _BLOCK.findall(text)]
    except binascii.Error:
        return None
    return hashlib.sha256(b"".join(certificates)).hexdigest() if certificates else None


def normal(text: str) -> str:
    """A fingerprint as people write it, with or without colons, in lower-case hex."""
    return text.replace(":", "").lower()
