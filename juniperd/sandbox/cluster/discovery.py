"""What a client reads before its first real question: versions, groups and resources, plain and aggregated.

Aggregated discovery: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery
"""

from __future__ import annotations

from typing import Any, Final

from juniperd.sandbox.cluster.kinds import GROUPS, Kind, of_group

Document = dict[str, Any]
VERSION: Final = "v1.34.1"
AGGREGATED: Final = ("v2", "v2beta1")
AGGREGATED_GROUP: Final = "apidiscovery.k8s.io"
AGGREGATED_KIND: Final = "APIGroupDiscoveryList"


def version() -> Document:
    """`/version`."""
    major, minor, _ = VERSION.removeprefix("v").split(".")
    emulated = {"emulationMajor": major, "emulationMinor": minor, "minCompatibilityMajor": major}
    return {
        "major": major,
        "minor": minor,
        **emulated,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": VERSION,
        "gitCommit": "0" * 40,
        "gitTreeState": "clean",
        "buildDate": "2025-09-09T19:37:00Z",
        "goVersion": "go1.24.6",
        "compiler": "gc",
        "platform": "linux/amd64",
    }


def plain(path: str, address: str) -> Document | None:
    """The document at a path, or None where no group or version is; `address` is HOST:PORT."""
    prefix, _, rest = path.strip("/").partition("/")
    if prefix == "api":
        return _core(rest, address)
    group, _, found = rest.partition("/")
    if not rest:
        rows = [_group(name) for name in GROUPS]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": rows}
    if group not in GROUPS or found not in ("", "v1"):
        return None
    if found:
        return _resources(group)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}


def serves(path: str) -> bool:
    """Whether a path is below a group that there is, if only in another version."""
    prefix, _, rest = path.strip("/").partition("/")
    return prefix == "api" or rest.partition("/")[0] in GROUPS


def aggregated(prefix: str, form: str) -> Document:
    """Everything below `api` or `apis` at once; `form` is one of `AGGREGATED`."""
    groups = GROUPS if prefix == "apis" else ("",)
    items = [{"metadata": {"name": group} if group else {}, "versions": [_version(group)]} for group in groups]
    head = {"kind": AGGREGATED_KIND, "apiVersion": f"{AGGREGATED_GROUP}/{form}", "metadata": {}}
    return head | {"items": items}


def _core(rest: str, address: str) -> Document | None:
    if rest == "v1":
        return _resources("")
    if rest:
        return None
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def _group(name: str) -> Document:
    only = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [only], "preferredVersion": only}


def _resources(group: str) -> Document:
    head = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if group else {})
    rows = [row for kind in of_group(group) for row in (_resource(kind), *_subresources(kind))]
    return head | {"groupVersion": f"{group}/v1" if group else "v1", "resources": rows}


def _resource(kind: Kind) -> Document:
    found: Document = {"name": kind.resource, "singularName": kind.singular, "namespaced": kind.namespaced}
    found |= {"kind": kind.kind, "verbs": list(kind.verbs)}
    more = {"shortNames": list(kind.short), "categories": list(kind.categories)}
    return found | {name: rows for name, rows in more.items() if rows}


def _subresources(kind: Kind) -> list[Document]:
    rows = [(f"{kind.resource}/{name}", verbs) for name, verbs in kind.subresources]
    row = {"singularName": "", "namespaced": kind.namespaced, "kind": kind.kind}
    return [{"name": name, **row, "verbs": list(verbs)} for name, verbs in rows]


def _version(group: str) -> Document:
    return {"version": "v1", "resources": [_described(kind) for kind in of_group(group)], "freshness": "Current"}


def _described(kind: Kind) -> Document:
    """A resource of the aggregated form, its subresources within it."""
    answers = {"group": "", "version": "", "kind": kind.kind}
    found: Document = {"resource": kind.resource, "responseKind": answers}
    found |= {"scope": "Namespaced" if kind.namespaced else "Cluster", "singularResource": kind.singular}
    found |= {"verbs": list(kind.verbs)}
    below = [{"subresource": name, "responseKind": answers, "verbs": list(rows)} for name, rows in kind.subresources]
    more = {"shortNames": list(kind.short), "categories": list(kind.categories), "subresources": below}
    return found | {name: rows for name, rows in more.items() if rows}
