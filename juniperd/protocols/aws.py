"""``credential_process`` of the AWS SDKs, as ``juniper-aws --scope NAME [--issuer NAME]``.

The contract is "Sourcing credentials with an external process" of the AWS SDKs and Tools Reference Guide: standard
output holds one JSON object and nothing else, ``Version`` is the number 1, and a failure is a status other than 0
with its cause on standard error. botocore shows that cause as it is, so one line is all there is to say it in.
"""

from __future__ import annotations

import json
from typing import cast

from juniperd.errors import JuniperError, ProtocolError, TargetUnknown
from juniperd.model import ISSUER_NAME, NAME, AwsCredential, CredentialRequest, Kind, Lease, rfc3339
from juniperd.protocols import Reply
from juniperd.wire import Request

HELPER = "juniper-aws"
INPUT: frozenset[str] = frozenset()
USAGE = f"write: {HELPER} --scope NAME [--issuer NAME]"


def parse(request: Request) -> CredentialRequest:
    """The scope a profile names; ``issuer/scope`` says both at once."""
    options = _options(request.arguments)
    scope, issuer = options.get("--scope"), options.get("--issuer")
    if scope is None:
        msg = "no scope is named"
        raise ProtocolError(msg, USAGE)
    before, slash, name = scope.rpartition("/")
    if slash and issuer is not None and issuer != before:
        msg = "two different issuers are named"
        raise ProtocolError(msg, USAGE)
    issuer = before if slash else issuer
    if not NAME.fullmatch(name) or (issuer is not None and not ISSUER_NAME.fullmatch(issuer)):
        msg = f"'{scope}' is not the name of a scope"
        raise TargetUnknown(msg)
    return CredentialRequest(scope=name, kind=Kind.AWS, issuer=issuer)


def _options(arguments: tuple[str, ...]) -> dict[str, str]:
    """``--name value`` and ``--name=value`` pairs, each at most once."""
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name not in {"--scope", "--issuer"} or name in found:
            msg = f"'{name}' is not understood here"
            raise ProtocolError(msg, USAGE)
        if not equals:
            if not rest:
                msg = f"{name} needs a value"
                raise ProtocolError(msg, USAGE)
            value = rest.pop(0)
        found[name] = value
    return found


def render(lease: Lease, _form: str) -> Reply:
    """The JSON object, ``Expiration`` in UTC with a ``Z``."""
    credential = cast("AwsCredential", lease.credential)
    document = {
        "Version": 1,
        "AccessKeyId": credential.access_key_id,
        "SecretAccessKey": credential.secret_access_key.reveal(),
        "SessionToken": credential.session_token.reveal(),
        "Expiration": rfc3339(lease.expires_at),
        "AccountId": credential.account_id,
    }
    return Reply(stdout=json.dumps(document).encode() + b"\n")


def render_error(error: JuniperError, _request: Request) -> Reply:
    """One line; the status is never 0, and only 0 means anything to the SDKs."""
    return Reply(stderr=f"{HELPER}: {error}\n".encode(), status=error.exit_status or 1)
