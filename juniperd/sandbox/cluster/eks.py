"""EKS tokens: a presigned GetCallerIdentity that the cluster sends to STS, and access entries for who STS says it is.

What is refused before STS is asked is what the cluster's side of aws-iam-authenticator refuses (`pkg/token`), in a
cluster of the commercial partition; what STS then says is this sandbox's account's (:mod:`.caller_identity`).
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from juniperd.sandbox.account import AwsAccount, Session
from juniperd.sandbox.cluster.authentication import Clock, User
from juniperd.sandbox.cluster.caller_identity import CallerIdentity, StsRefusal

PREFIX: Final = "k8s-aws-v1."
CLUSTER_HEADER: Final = "x-k8s-aws-id"
TOKEN_LIMIT: Final = 4096
TOKEN_LIFE: Final = 900.0
"""Seconds from `X-Amz-Date`, whatever `X-Amz-Expires` says."""

_SIGNING: Final = ("algorithm", "credential", "date", "expires", "security-token", "signature", "signedheaders")
_PARAMETERS: Final = frozenset({"action", "version", *(f"x-amz-{name}" for name in _SIGNING)})
_ENCODED: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_HOST: Final = re.compile(
    r"sts\.amazonaws\.com|sts(?:-fips)?\.([a-z0-9]+(?:-[a-z0-9]+)*)\.(?:amazonaws\.com|api\.aws)", re.ASCII
)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|;")
_SECONDS: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_DATE_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_GLOBAL_REGION: Final = "us-east-1"


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """An IAM role and who it is in the cluster; `username` may hold `{{SessionName}}`, `{{SessionNameRaw}}`."""

    role_arn: str
    username: str
    groups: tuple[str, ...]


class _Refused(Exception):
    """A rule is broken; the text is for whoever debugs, since the client hears 401 and no more."""


@dataclass(slots=True)
class EksAuthenticator:
    """The tokens of one EKS cluster, by its name. `refusals` holds why each refused one was."""

    cluster: str
    account: AwsAccount
    entries: tuple[AccessEntry, ...]
    clock: Clock = time.time
    refusals: list[str] = field(default_factory=list)

    async def authenticate(self, token: str) -> User | None:
        """The user that an access entry makes of the role whose session signed the token."""
        try:
            return self._user(self._session(token))
        except (_Refused, StsRefusal) as problem:
            self.refusals.append(str(problem))
            return None

    def _session(self, token: str) -> Session:
        url = _presigned(token)
        self._check(_parameters(url))
        region = _region(url.netloc)
        # The headers that the cluster sends; its name is in no parameter, so another cluster's token fails in STS.
        headers = {"host": url.netloc, "accept": "application/json", CLUSTER_HEADER: self.cluster}
        sts = CallerIdentity(self.account, self.clock)
        return sts.answer(url.query, headers=headers, region=region)

    def _check(self, parameters: Mapping[str, str]) -> None:
        if parameters.get("action") != "GetCallerIdentity":
            raise _Refused("another action")
        signed = parameters.get("x-amz-signedheaders", "").lower().split(";")
        if CLUSTER_HEADER not in signed:
            raise _Refused(f"{CLUSTER_HEADER} is not signed")
        seconds = parameters.get("x-amz-expires", "")
        if not _SECONDS.fullmatch(seconds) or not 0 <= int(seconds) <= TOKEN_LIFE:
            raise _Refused("X-Amz-Expires out of range")
        if self.clock() > _moment(parameters.get("x-amz-date", "")) + TOKEN_LIFE:
            raise _Refused("expired")

    def _user(self, session: Session) -> User:
        entry = next((row for row in self.entries if row.role_arn == session.role_arn), None)
        if entry is None:
            raise _Refused(f"no access entry for {session.role_arn}")
        principal, _, name = session.user_id.partition(":")
        username = entry.username.replace("{{SessionName}}", name.replace("@", "-"))
        extra = {
            "arn": session.arn,
            "canonicalArn": session.role_arn,
            "sessionName": name,
            "accessKeyId": session.access_key_id,
            "principalId": principal,
            "sigs.k8s.io/aws-iam-authenticator/principalId": principal,
        }
        return User(
            username.replace("{{SessionNameRaw}}", name),
            f"aws-iam-authenticator:{self.account.number}:{principal}",
            entry.groups,
            {key: (value,) for key, value in extra.items()},
        )


def _presigned(token: str) -> SplitResult:
    """The address in the token, as far as it is known before its parameters are read."""
    encoded = token.removeprefix(PREFIX)
    if len(token) > TOKEN_LIMIT or encoded == token or not _ENCODED.fullmatch(encoded):
        raise _Refused("no token of EKS")
    try:
        text = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode("ascii")
        url = urlsplit(text)
    except ValueError:
        raise _Refused("no address in the token") from None
    # Go reads no address with control characters, where Python drops some of them.
    if not text.isprintable() or url.scheme != "https":
        raise _Refused("not an address over https")
    if not _HOST.fullmatch(url.netloc) or url.path != "/" or url.fragment:
        raise _Refused("not an address of STS")
    return url


def _parameters(url: SplitResult) -> dict[str, str]:
    """The query with names in lower case, each once and each allowed."""
    if _BAD_ESCAPE.search(url.query):
        raise _Refused("malformed query")
    found: dict[str, str] = {}
    for name, value in parse_qsl(url.query, keep_blank_values=True):
        key = name.lower()
        if key not in _PARAMETERS or key in found:
            raise _Refused(f"{name} is not allowed, or there twice")
        found[key] = value
    return found


def _region(host: str) -> str:
    match = _HOST.fullmatch(host)
    return (match and match[1]) or _GLOBAL_REGION


def _moment(date: str) -> float:
    try:
        if not _DATE.fullmatch(date):
            raise _Refused("no X-Amz-Date")
        return datetime.strptime(date, _DATE_FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise _Refused("no X-Amz-Date") from None
