"""Who may do what: Roles bound to groups within a namespace, and what a cluster grants everybody by itself.

The names and rules of the latter are the API server's own (`system:basic-user`, `system:discovery`,
`system:public-info-viewer`): https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from juniperd.sandbox.cluster.authentication import AUTHENTICATED, User
from juniperd.sandbox.cluster.call import Call

Document = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One PolicyRule; `names` empty means every object."""

    verbs: tuple[str, ...]
    resources: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ("",)
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def allows(self, call: Call) -> bool:
        """Whether the call is within this rule; its namespace is the binding's matter."""
        if not _any(self.verbs, call.verb):
            return False
        if not call.resource:
            return any(_on_path(path, call.path) for path in self.paths)
        named = not self.names or call.name in self.names
        return named and _any(self.api_groups, call.group) and self._of(call)

    def _of(self, call: Call) -> bool:
        whatever = f"*/{call.subresource}" if call.subresource else "*"
        return bool({"*", whatever, call.full_resource} & set(self.resources))

    def document(self) -> Document:
        """As a SelfSubjectRulesReview lists it."""
        if self.paths:
            return {"verbs": list(self.verbs), "nonResourceURLs": list(self.paths)}
        found = {"verbs": list(self.verbs), "apiGroups": list(self.api_groups), "resources": list(self.resources)}
        return found | ({"resourceNames": list(self.names)} if self.names else {})


@dataclass(frozen=True, slots=True)
class RoleBinding:
    """A Role and the one group it is bound to, within one namespace."""

    namespace: str
    role: str
    group: str
    rules: tuple[Rule, ...]
    name: str = ""

    @property
    def reason(self) -> str:
        """Why a review allows, in RBAC's words."""
        binding = f'RoleBinding "{self.name or self.role}/{self.namespace}"'
        return f'RBAC: allowed by {binding} of Role "{self.role}" to Group "{self.group}"'


@dataclass(frozen=True, slots=True)
class _Default:
    """A ClusterRole that the API server makes and binds by itself."""

    role: str
    groups: tuple[str, ...]
    rules: tuple[Rule, ...]

    def reason(self, group: str) -> str:
        return f'RBAC: allowed by ClusterRoleBinding "{self.role}" of ClusterRole "{self.role}" to Group "{group}"'


_REVIEWS: Final = ("selfsubjectaccessreviews", "selfsubjectrulesreviews")
_HEALTH: Final = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_DEFAULTS: Final = (
    _Default(
        "system:basic-user",
        (AUTHENTICATED,),
        (
            Rule(("create",), _REVIEWS, ("authorization.k8s.io",)),
            Rule(("create",), ("selfsubjectreviews",), ("authentication.k8s.io",)),
        ),
    ),
    _Default(
        "system:discovery",
        (AUTHENTICATED,),
        (Rule(("get",), paths=("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *_HEALTH)),),
    ),
    _Default("system:public-info-viewer", (AUTHENTICATED, "system:unauthenticated"), (Rule(("get",), paths=_HEALTH),)),
)


@dataclass(slots=True)
class Access:
    """The RBAC authorizer over some bindings."""

    bindings: tuple[RoleBinding, ...]

    def reason(self, user: User, call: Call) -> str | None:
        """What allows the call, or None where nothing does."""
        for row in _DEFAULTS:
            group = next((group for group in row.groups if group in user.groups), None)
            if group is not None and any(rule.allows(call) for rule in row.rules):
                return row.reason(group)
        for binding in self._of(user, call.namespace):
            if call.resource and any(rule.allows(call) for rule in binding.rules):
                return binding.reason
        return None

    def rules(self, user: User, namespace: str) -> Iterator[Rule]:
        """Every rule that holds for the user in one namespace."""
        for row in _DEFAULTS:
            if any(group in user.groups for group in row.groups):
                yield from row.rules
        for binding in self._of(user, namespace):
            yield from binding.rules

    def _of(self, user: User, namespace: str) -> Iterator[RoleBinding]:
        """A RoleBinding reaches nothing at the cluster's own scope, where there is no namespace."""
        return (row for row in self.bindings if namespace and row.namespace == namespace and row.group in user.groups)


def _any(allowed: tuple[str, ...], value: str) -> bool:
    return "*" in allowed or value in allowed


def _on_path(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
