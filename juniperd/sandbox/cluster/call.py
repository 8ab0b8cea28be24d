"""What a request asks for, read from its method and path as the API server reads them before it authorizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_VERBS: Final = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_OF_A_NAMESPACE: Final = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class Call:
    """One request's attributes; `resource` is empty for a path that is no resource."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""

    @property
    def full_resource(self) -> str:
        """`pods/log`, or `pods`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def read(method: str, path: str, query: Mapping[str, str]) -> Call:
    """The attributes of one request."""
    parts = path.strip("/").split("/")
    known = {"api": 1, "apis": 2}.get(parts[0], 0)
    if not known or len(parts) < known + 2:
        return Call(method.lower(), path)
    group = parts[1] if known == 2 else ""
    version, rest = parts[known], parts[known + 1 :]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _OF_A_NAMESPACE:
            rest = rest[2:]
    resource, name, subresource, *_ = [*rest, "", ""]
    verb = _verb(method, name, query)
    if verb in ("list", "watch"):
        name = _only_name(query.get("fieldSelector", ""))
    return Call(verb, path, group, version, namespace, resource, subresource, name)


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    verb = _VERBS.get(method, "")
    if verb == "get" and not name:
        return "list" if query.get("watch", "false").lower() in ("false", "0") else "watch"
    return "deletecollection" if verb == "delete" and not name else verb


def _only_name(selector: str) -> str:
    """The name that a field selector pins; a role that names objects then allows the list."""
    for term in selector.split(","):
        field, operator, value = term.partition("=")
        if field == "metadata.name" and operator:
            return value.removeprefix("=")
    return ""
