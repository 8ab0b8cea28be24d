"""The executable source of Google's libraries, as ``juniper-google --scope NAME [--issuer NAME]``.

The contract is AIP-4117 and that of google-auth's ``pluggable``: one JSON object on standard output, a failure with
``success`` false and status 0, and nothing on standard error, which is read as if it were output. The library trades the
token at Google's by itself, so what it gets is the issued one. With ``--access-token`` the answer is what ours traded it
for, for tools that take an access token and nothing else.
"""

from __future__ import annotations

import json
from typing import cast

from juniperd.errors import GrantRefused, JuniperError, LoginRequired, ProtocolError, SubjectRejected, TargetUnknown
from juniperd.model import ISSUER_NAME, NAME, BearerToken, CredentialRequest, Kind, Lease, rfc3339
from juniperd.protocols import Reply, options
from juniperd.wire import Request

HELPER = "juniper-google"
INPUT: frozenset[str] = frozenset()
FOLDER = "google"
"""Where set-up writes a credential file for each scope, beside ``juniper.toml``."""
USAGE = f"write: {HELPER} --scope NAME [--issuer NAME]"
ACCESS = "access-token"
VERSION = 1
TOKEN_TYPE = "urn:ietf:params:oauth:token-type:jwt"
_OPTIONS = {"--scope": NAME, "--issuer": ISSUER_NAME}
_CODES: tuple[tuple[type[JuniperError], str], ...] = (
    (LoginRequired, "401"),
    (SubjectRejected, "401"),
    (GrantRefused, "403"),
    (TargetUnknown, "404"),
    (ProtocolError, "400"),
    (JuniperError, "503"),
)
"""What Google's libraries show before the message, in the numbers that their examples use."""


def parse(request: Request) -> CredentialRequest:
    """The scope that a credential file names."""
    rest = [word for word in request.arguments if word != f"--{ACCESS}"]
    found = options.read(rest, _OPTIONS, needed="--scope", usage=USAGE)
    traded = _is_traded(request)
    return CredentialRequest(
        scope=found["--scope"],
        kind=Kind.GOOGLE,
        issuer=found.get("--issuer"),
        form=ACCESS if traded else "",
        untraded=not traded,
    )


def _is_traded(request: Request) -> bool:
    return f"--{ACCESS}" in request.arguments


def render(lease: Lease, form: str) -> Reply:
    """The issued token as the libraries want it; or the access token with its end."""
    token = cast("BearerToken", lease.credential).token.reveal()
    if form == ACCESS:
        return _json({"token": token, "ends_at": rfc3339(lease.expires_at)})
    return _json(
        {
            "version": VERSION,
            "success": True,
            "token_type": TOKEN_TYPE,
            "id_token": token,
            "expiration_time": int(lease.expires_at),
        }
    )


def _json(document: dict[str, object]) -> Reply:
    return Reply(stdout=json.dumps(document).encode() + b"\n")


def render_error(error: JuniperError, request: Request) -> Reply:
    """A failure in the libraries' own words, who show code and message; whoever asked for an access token gets a line."""
    if _is_traded(request):
        return Reply(stderr=f"{HELPER}: {error}\n".encode(), status=error.exit_status or 1)
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    return _json({"version": VERSION, "success": False, "code": code, "message": str(error)})
