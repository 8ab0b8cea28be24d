"""GetCallerIdentity of STS for a presigned address: whose session signed it, the signature made anew.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl, quote

from juniperd.sandbox.account import AwsAccount, Session

ALGORITHM: Final = "AWS4-HMAC-SHA256"
VERSION: Final = "2011-06-15"
TOLERANCE: Final = timedelta(minutes=15)
"""How far a signer's clock may be off from that of STS, either way; with that, how long a signature lives."""
_EMPTY: Final = hashlib.sha256(b"").hexdigest()


class StsRefusal(Exception):
    """STS does not say who this is; the text is its code."""


@dataclass(slots=True)
class CallerIdentity:
    """The action, over one account."""

    account: AwsAccount
    clock: Callable[[], float] = time.time

    def answer(self, query: str, *, headers: Mapping[str, str], region: str) -> Session:
        """The session that signed `query` with these headers of a GET of `/`; `StsRefusal` otherwise."""
        pairs = parse_qsl(query, keep_blank_values=True)
        parameters = dict(pairs)
        if parameters.get("Version") != VERSION or parameters.get("Action") != "GetCallerIdentity":
            raise StsRefusal("InvalidAction")
        if parameters.get("X-Amz-Algorithm") != ALGORITHM:
            raise StsRefusal("IncompleteSignature")
        date = parameters.get("X-Amz-Date", "")
        key, _, scope = parameters.get("X-Amz-Credential", "").partition("/")
        if scope != f"{date[:8]}/{region}/sts/aws4_request":
            raise StsRefusal("SignatureDoesNotMatch: the credential's scope")
        self._check_date(date)
        session = self._session(key, parameters.get("X-Amz-Security-Token", ""))
        names = parameters.get("X-Amz-SignedHeaders", "").split(";")
        text = "\n".join([ALGORITHM, date, scope, _digest(_canonical(pairs, names, headers))])
        if not _same(_signature(session.secret_access_key, scope, text), parameters.get("X-Amz-Signature", "")):
            raise StsRefusal("SignatureDoesNotMatch")
        return session

    def _check_date(self, date: str) -> None:
        try:
            signed = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise StsRefusal("IncompleteSignature") from None
        now = datetime.fromtimestamp(self.clock(), UTC)
        if not signed - TOLERANCE <= now <= signed + TOLERANCE:
            raise StsRefusal("SignatureDoesNotMatch: expired, or not yet current")

    def _session(self, key: str, token: str) -> Session:
        """A session of a role that is still there: one made anew under its name is another principal."""
        session = self.account.session(key)
        if session is None or not _same(session.session_token, token):
            raise StsRefusal("InvalidClientTokenId")
        role = self.account.role(session.role_arn)
        if role is None or role.id != session.user_id.partition(":")[0]:
            raise StsRefusal("InvalidClientTokenId")
        if self.account.expired(key, self.clock()):
            raise StsRefusal("ExpiredToken")
        return session


def _canonical(pairs: list[tuple[str, str]], names: list[str], headers: Mapping[str, str]) -> str:
    """The canonical request; a header that was signed and is not sent, or the host left out, spoils it."""
    if "host" not in names or names != sorted(set(names)) or not set(names) <= set(headers):
        raise StsRefusal("SignatureDoesNotMatch: the signed headers")
    signed = sorted((_encoded(name), _encoded(value)) for name, value in pairs if name != "X-Amz-Signature")
    lines = ["GET", "/", "&".join(f"{name}={value}" for name, value in signed)]
    lines += [f"{name}:{headers[name]}" for name in names]
    return "\n".join([*lines, "", ";".join(names), _EMPTY])


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _signature(secret: str, scope: str, text: str) -> str:
    key = f"AWS4{secret}".encode()
    for part in [*scope.split("/"), text]:
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def _same(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode(), theirs.encode("utf-8", "surrogatepass"))
