"""The kinds of objects that this cluster serves, and what may be done with each.

Fewer than a real cluster's, each with the real one's names; what is listed as readable alone answers 405 to writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_READ: Final = ("get", "list", "watch")
_ALL: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource of one group and version."""

    kind: str
    resource: str
    short: tuple[str, ...] = ()
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    verbs: tuple[str, ...] = _READ
    categories: tuple[str, ...] = ()
    subresources: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def api_version(self) -> str:
        """`v1`, or `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """The name for one of them."""
        return self.kind.lower()


CONFIG_MAP: Final = Kind("ConfigMap", "configmaps", ("cm",), verbs=_ALL)
NAMESPACE: Final = Kind("Namespace", "namespaces", ("ns",), namespaced=False)
POD: Final = Kind("Pod", "pods", ("po",), categories=("all",), subresources=(("log", ("get",)),))
EVENT: Final = Kind("Event", "events", ("ev",))

_REVIEW: Final = "authorization.k8s.io"
KINDS: Final = (
    CONFIG_MAP,
    Kind("Endpoints", "endpoints", ("ep",)),
    EVENT,
    NAMESPACE,
    POD,
    Kind("Secret", "secrets"),
    Kind("ServiceAccount", "serviceaccounts", ("sa",)),
    Kind("Service", "services", ("svc",), categories=("all",)),
    Kind("Deployment", "deployments", ("deploy",), "apps", categories=("all",)),
    Kind("ReplicaSet", "replicasets", ("rs",), "apps", categories=("all",)),
    Kind("StatefulSet", "statefulsets", ("sts",), "apps", categories=("all",)),
    Kind("SelfSubjectReview", "selfsubjectreviews", (), "authentication.k8s.io", namespaced=False, verbs=("create",)),
    Kind("SelfSubjectAccessReview", "selfsubjectaccessreviews", (), _REVIEW, namespaced=False, verbs=("create",)),
    Kind("SelfSubjectRulesReview", "selfsubjectrulesreviews", (), _REVIEW, namespaced=False, verbs=("create",)),
)
GROUPS: Final = ("apps", "authentication.k8s.io", _REVIEW)
"""Every group but the core one, in the order of `/apis`."""


def find(group: str, version: str, resource: str) -> Kind | None:
    """The kind behind a path."""
    sought = (group, version, resource)
    return next((row for row in KINDS if (row.group, row.version, row.resource) == sought), None)


def of_group(group: str) -> tuple[Kind, ...]:
    """A group's kinds."""
    return tuple(row for row in KINDS if row.group == group)
