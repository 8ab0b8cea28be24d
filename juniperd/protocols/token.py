"""``juniper token``: a token for an API, plain or as a header for ``curl -H @FILE``.

It asks as the helpers do, so that inside a debugging session it reaches the session's socket like any tool.
"""

from __future__ import annotations

import json
from typing import cast

from juniperd.errors import JuniperError, ProtocolError
from juniperd.model import ISSUER_NAME, NAME, BearerToken, CredentialRequest, Kind, Lease, rfc3339
from juniperd.protocols import Reply, options
from juniperd.wire import Request

HELPER = "juniper-token"
INPUT: frozenset[str] = frozenset()
USAGE = "write: juniper token --audience NAME [--scope NAME] [--issuer NAME] [--header]"
HEADER = "header"
TIMED = "timed"
"""The token with its end, as JSON: for whoever keeps a file fresh."""
_OPTIONS = {"--audience": NAME, "--scope": NAME, "--issuer": ISSUER_NAME}


def parse(request: Request) -> CredentialRequest:
    """The relying party that is meant, and the scope where it is named."""
    forms = [form for form in (HEADER, TIMED) if f"--{form}" in request.arguments]
    if len(forms) > 1:
        msg = "a token has one form"
        raise ProtocolError(msg, USAGE)
    rest = [word for word in request.arguments if word not in {f"--{form}" for form in forms}]
    found = options.read(rest, _OPTIONS, needed="--audience", usage=USAGE)
    return CredentialRequest(
        scope=found.get("--scope", ""),
        kind=Kind.API,
        issuer=found.get("--issuer"),
        relying_party=found["--audience"],
        form="".join(forms),
    )


def render(lease: Lease, form: str) -> Reply:
    """The token on a line, behind ``Authorization: Bearer`` where a header was asked for (RFC 6750 section 2.1)."""
    token = cast("BearerToken", lease.credential).token.reveal()
    if form == TIMED:
        return Reply(stdout=json.dumps({"token": token, "ends_at": rfc3339(lease.expires_at)}).encode() + b"\n")
    line = f"Authorization: Bearer {token}" if form == HEADER else token
    return Reply(stdout=line.encode() + b"\n")


def render_error(error: JuniperError, _request: Request) -> Reply:
    """One line for the person who typed the command."""
    return Reply(stderr=f"juniper token: {error}\n".encode(), status=error.exit_status or 1)
