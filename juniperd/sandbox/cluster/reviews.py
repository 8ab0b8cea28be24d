"""Questions about oneself: who am I, may I, and what may I."""

from __future__ import annotations

from typing import Any, Final

from juniperd.sandbox.cluster.access import Access
from juniperd.sandbox.cluster.authentication import User
from juniperd.sandbox.cluster.call import Call
from juniperd.sandbox.cluster.kinds import Kind
from juniperd.sandbox.cluster.status import bad_request, invalid

Document = dict[str, Any]
_TEXTS: Final = ("verb", "group", "version", "namespace", "resource", "subresource", "name")


def review(kind: Kind, asked: Document, user: User, access: Access, now: str) -> Document:
    """The review with its answer, or `StatusError` for a question that is none; `now` as the API writes it."""
    spec = asked.get("spec") or {}
    head = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": asked.get("metadata") or {}}
    if kind.kind == "SelfSubjectReview":
        metadata = {"creationTimestamp": now}
        return head | {"metadata": metadata, "status": {"userInfo": user.info()}}
    if kind.kind == "SelfSubjectRulesReview":
        return head | {"spec": {}, "status": _rules(spec, user, access)}
    reason = access.reason(user, _call(kind, spec))
    status = {"allowed": reason is not None} | ({} if reason is None else {"reason": reason})
    return head | {"spec": spec, "status": status}


def _rules(spec: Document, user: User, access: Access) -> Document:
    namespace = spec.get("namespace")
    if not isinstance(namespace, str) or not namespace:
        raise bad_request("no namespace on request")
    rules = list(access.rules(user, namespace))
    return {
        "resourceRules": [rule.document() for rule in rules if not rule.paths],
        "nonResourceRules": [rule.document() for rule in rules if rule.paths],
        "incomplete": False,
    }


def _call(kind: Kind, spec: Document) -> Call:
    """The call that somebody asks about."""
    of_resource, of_path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if isinstance(of_path, dict) and of_resource is None:
        return Call(str(of_path.get("verb", "")), str(of_path.get("path", "")))
    if isinstance(of_resource, dict) and of_path is None:
        return Call(path="", **{name: str(of_resource.get(name, "")) for name in _TEXTS})
    why = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
    raise invalid(f".{kind.group}", "", "spec", why, group=kind.group)
