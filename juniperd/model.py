"""The values that travel: frozen, compared by content, free of I/O.

Times are UTC unix seconds as ``float``; durations are seconds. RFC 3339 text exists only where something is shown
or stored.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import final

Clock = Callable[[], float]
"""Answers the wall clock in UTC unix seconds; injected everywhere, so that tests own time."""

NAME = re.compile(r"[a-z][a-z0-9-]{0,47}")
"""A scope, or a relying party."""
ISSUER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""An issuer, as one laptop calls it."""


def rfc3339(moment: float) -> str:
    """``moment`` as UTC RFC 3339 with seconds, the form AWS and our JSON use."""
    return datetime.fromtimestamp(moment, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@final
class Secret:
    """A string that never prints: masked in ``str``, ``repr``, formats and tracebacks; read by ``reveal()`` alone."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself; each call is a place an auditor greps for."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        from hmac import compare_digest

        if not isinstance(other, Secret):
            return NotImplemented
        return compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __reduce__(self) -> str:
        msg = "a Secret is never pickled"
        raise TypeError(msg)


class Kind(StrEnum):
    """What sort of relying party: a scope's table and the exchange of the same name."""

    AWS = "aws"
    KUBERNETES = "kubernetes"
    API = "api"
    REGISTRY = "registry"
    GIT = "git"
    GOOGLE = "google"


class Origin(StrEnum):
    """Where a request comes from (claim ``juniper_origin``)."""

    LAPTOP = "laptop"
    PIPELINE = "pipeline"


@dataclass(frozen=True, slots=True)
class Caller:
    """The process at the other end of the socket, as the kernel names it; ``program`` is its path or ``""``."""

    pid: int
    uid: int
    program: str = ""


@dataclass(frozen=True, slots=True)
class CredentialRequest:
    """What a tool asked for, as a protocol understood it: selections, no facts.

    An empty ``scope`` means the one scope that reaches ``relying_party``, ``among`` those of a session. ``cluster`` is
    where the tool will show what it gets, and ``form`` the form of the answer it wants, of which its protocol knows
    several. ``untraded`` is for a tool that trades by itself, and wants the issued token as it is. A tool that knows no
    scopes names a ``host`` in their place, in lower case and with its port where that is
    not 443, and perhaps a ``path`` there, which is a project's or begins with one.
    """

    scope: str
    kind: Kind
    issuer: str | None = None
    session: str | None = None
    relying_party: str | None = None
    project_id: int | None = None
    environment: str | None = None
    ref: str | None = None
    narrowing: tuple[str, ...] = ()
    cluster: Cluster | None = None
    form: str = ""
    among: tuple[str, ...] = ()
    host: str = ""
    path: str = ""
    untraded: bool = False


@dataclass(frozen=True, slots=True)
class Rejection:
    """A tool's word that what it showed was not taken; ``shown`` is the secret."""

    request: CredentialRequest
    shown: Secret


@dataclass(frozen=True, slots=True)
class LeaseKey:
    """What makes two leases the same; nothing less is ever joined."""

    issuer: str
    identity: str
    session: str | None
    scope: str
    kind: Kind
    relying_party: str | None
    project_id: int | None
    environment: str | None
    ref: str | None
    narrowing: tuple[str, ...]
    untraded: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A debugging session as the issuer opened it; ``issuer`` is its name on this laptop."""

    id: str
    issuer: str
    project: str
    environment: str
    ref: str | None
    scopes: tuple[str, ...]
    ends_at: float

    @property
    def again(self) -> str:
        """The command that opens another one like it."""
        return f"run: juniper session open {self.project} --env {shlex.quote(self.environment)}"


@dataclass(frozen=True, slots=True)
class AwsCredential:
    """What STS answered (AssumeRoleWithWebIdentity, `Credentials` and `AssumedRoleUser`)."""

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret
    account_id: str
    assumed_role_arn: str


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token that is used as it is, in an ``Authorization`` header (RFC 6750)."""

    token: Secret


@dataclass(frozen=True, slots=True)
class BasicLogin:
    """A name and a password, as registries and Git take them (RFC 7617)."""

    username: str
    password: Secret


Credential = AwsCredential | BearerToken | BasicLogin
"""Everything an exchange can end in; a union that grows with the exchanges."""


@dataclass(frozen=True, slots=True)
class GitlabApplication:
    """The public application with which people let Juniper read, for advice, what they may read at GitLab."""

    url: str
    client_id: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kubernetes API server as it is known: its URL, and its CA's fingerprint (empty for one that the world trusts)."""

    server: str
    ca_sha256: str


@dataclass(frozen=True, slots=True)
class Lease:
    """A credential with its times; what the broker keeps and a protocol renders.

    ``cluster`` is the only one that the credential may be shown to, and so is ``host``.
    """

    key: LeaseKey
    credential: Credential
    issued_at: float
    expires_at: float
    cluster: Cluster | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where an issued token is to be traded, as the issuer's answer says.

    ``made_of`` is the kind whose lease the credential is made of where the issuer signs nothing for it.
    """

    relying_party: str
    kind: Kind
    ttl: float
    role_arn: str = ""
    region: str = ""
    endpoint: str = ""
    session_name: str = ""
    server: str = ""
    ca_sha256: str = ""
    eks: str = ""
    host: str = ""
    username: str = ""
    audience: str = ""
    service_account: str = ""
    made_of: Kind = Kind.AWS

    @property
    def cluster(self) -> Cluster:
        """The cluster that this target is."""
        return Cluster(self.server, self.ca_sha256)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """What the issuer's ``/token`` answered (RFC 8693 section 2.2.1), with the target beside it."""

    token: Secret
    scope: str
    expires_at: float
    decision: str
    target: Target
