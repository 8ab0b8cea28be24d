"""A Google Cloud as it is configured: providers of workload identity pools, service accounts, buckets, and who may what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from juniperd.sandbox import google_cel
from juniperd.sandbox.company import (
    EXPORT_ACCOUNT,
    EXPORT_BUCKET,
    GOOGLE_POOL,
    GOOGLE_PROVIDER,
    ORIGINS,
    SCOPES,
)

CLOUD_PLATFORM: Final = "https://www.googleapis.com/auth/cloud-platform"
WORKLOAD_USER: Final = "roles/iam.workloadIdentityUser"
LONGEST_SUBJECT: Final = 127
LONGEST_CONDITION: Final = 4096
LONGEST_ATTRIBUTE: Final = 2048
_NAME: Final = re.compile(
    r"projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]{4,32}/providers/[a-z0-9-]{4,32}"
)
_ATTRIBUTE: Final = re.compile(r"google\.subject|attribute\.[a-z0-9_]{1,100}")
ROLES: Final[dict[str, frozenset[str]]] = {
    "roles/storage.objectViewer": frozenset({"objects.get", "objects.list"}),
    "roles/storage.objectUser": frozenset({"objects.get", "objects.list", "objects.create", "objects.delete"}),
}


@dataclass(frozen=True, slots=True)
class Provider:
    """An OIDC provider of a pool. With `jwks` the keys were uploaded, and nobody is asked for them.

    As Google refuses to make one that breaks a limit, so does this: `ValueError`.
    """

    name: str
    issuer: str
    mapping: Mapping[str, str]
    condition: str = ""
    jwks: Mapping[str, Any] | None = None
    audiences: tuple[str, ...] = ()
    disabled: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or not self.issuer.startswith("https://"):
            raise ValueError(f"no provider: {self.name} of {self.issuer}")
        if "google.subject" not in self.mapping:
            raise ValueError("google.subject must be mapped")
        for name, expression in self.mapping.items():
            if not _ATTRIBUTE.fullmatch(name) or len(expression) > LONGEST_ATTRIBUTE:
                raise ValueError(f"no attribute: {name}")
            google_cel.mapping(expression)
        if len(self.condition) > LONGEST_CONDITION:
            raise ValueError("the condition is too long")
        if self.condition:
            google_cel.condition(self.condition)

    @property
    def pool(self) -> str:
        """The pool's name."""
        return self.name.partition("/providers/")[0]

    def takes(self, audience: str) -> bool:
        """Whether a token for this audience may be traded here; by default the provider's own name is meant."""
        own = f"//iam.googleapis.com/{self.name}"
        return audience in (self.audiences or (own, f"https:{own}"))


@dataclass(frozen=True, slots=True)
class Binding:
    """A role with one member."""

    role: str
    member: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What lies in a bucket."""

    data: bytes
    content_type: str
    generation: int


@dataclass(slots=True)
class Bucket:
    """Objects, and who may read or write them."""

    bindings: list[Binding]
    objects: dict[str, StoredObject] = field(default_factory=dict)

    def allows(self, members: frozenset[str], permission: str) -> bool:
        """Whether one of these may."""
        return any(b.member in members and permission in ROLES.get(b.role, ()) for b in self.bindings)


@dataclass(slots=True)
class Cloud:
    """Everything there is; service accounts by e-mail, with who may do what as them."""

    providers: dict[str, Provider] = field(default_factory=dict)
    accounts: dict[str, list[Binding]] = field(default_factory=dict)
    buckets: dict[str, Bucket] = field(default_factory=dict)


def principal_set(scope: str) -> str:
    """Everybody who holds a scope, as a member."""
    return f"principalSet://iam.googleapis.com/{GOOGLE_POOL}/attribute.juniper_scope/{scope}"


def furnished(issuer: str) -> Cloud:
    """The shop's: a pool of the issuer's own, an account for the exports, and their bucket with one invoice run in it."""
    found = [scope for scope in SCOPES if scope.export]
    subjects = ", ".join(f"'{subject}'" for scope in found for subject in scope.subjects())
    origins = ", ".join(f"'{origin}'" for origin in ORIGINS)
    provider = Provider(
        GOOGLE_PROVIDER,
        issuer,
        {
            "google.subject": "assertion.juniper_origin + ':' + assertion.user_id + ':' + assertion.juniper_scope",
            "attribute.juniper_scope": "assertion.juniper_scope",
        },
        f"assertion.juniper_origin in [{origins}] && assertion.sub in [{subjects}]",
    )
    exports = StoredObject(b"invoice,net\n1001,120.00\n1002,75.50\n", "text/csv", 1)
    return Cloud(
        {provider.name: provider},
        {EXPORT_ACCOUNT: [Binding(WORKLOAD_USER, principal_set(scope.name)) for scope in found]},
        {
            EXPORT_BUCKET: Bucket(
                [Binding("roles/storage.objectViewer", f"serviceAccount:{EXPORT_ACCOUNT}")],
                {"2026-11/invoices.csv": exports},
            )
        },
    )
