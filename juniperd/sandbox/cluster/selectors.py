"""Field and label selectors of lists and watches.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#api
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from juniperd.sandbox.cluster.kinds import EVENT, POD, Kind
from juniperd.sandbox.cluster.status import bad_request

Document = dict[str, Any]
Selector = Callable[[Document], bool]
_ALWAYS: Final = ("metadata.name", "metadata.namespace")
_FIELDS: Final[dict[Kind, tuple[str, ...]]] = {
    POD: ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "status.phase", "status.podIP"),
    EVENT: (*(f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid")), "reason", "type"),
}
_SET: Final = re.compile(r"(?P<key>[\w./-]+)\s+(?P<verb>in|notin)\s*\((?P<values>[^)]*)\)")
_EQUALITY: Final = re.compile(r"(?P<key>[\w./-]+)\s*(?P<verb>==|=|!=)\s*(?P<value>[\w.-]*)")
_EXISTENCE: Final = re.compile(r"(?P<verb>!?)\s*(?P<key>[\w./-]+)")
# A comma within parentheses parts no terms.
_COMMA: Final = re.compile(r",(?![^(]*\))")


def selector(query: Mapping[str, str], kind: Kind) -> Selector:
    """What the query selects, or `StatusError` 400."""
    fields = [_field(term, kind) for term in query.get("fieldSelector", "").split(",") if term]
    labels = [_label(term.strip()) for term in _COMMA.split(query.get("labelSelector", "")) if term.strip()]
    return lambda row: all(one(row) for one in (*fields, *labels))


def _field(term: str, kind: Kind) -> Selector:
    found = _EQUALITY.fullmatch(term)
    if found is None:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    path, verb, value = found.group("key", "verb", "value")
    if path not in (*_ALWAYS, *_FIELDS.get(kind, ())):
        known = ", ".join(f'"{name}"' for name in _ALWAYS)
        unknown = f'"{path}" is not a known field selector: only {known}'
        raise bad_request(f"field label not supported: {path}" if kind in _FIELDS else unknown)
    return lambda row: (str(_at(row, path)) == value) == (verb != "!=")


def _at(row: Document, path: str) -> object:
    value: Any = row
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return value


def _label(term: str) -> Selector:
    if (found := _SET.fullmatch(term)) is not None:
        key, verb = found.group("key", "verb")
        values = {value.strip() for value in found["values"].split(",")}
        return lambda row: (_labels(row).get(key) in values) == (verb == "in")
    if (found := _EQUALITY.fullmatch(term)) is not None:
        key, verb, value = found.group("key", "verb", "value")
        return lambda row: (_labels(row).get(key) == value) == (verb != "!=")
    if (found := _EXISTENCE.fullmatch(term)) is not None:
        verb, key = found.group("verb", "key")
        return lambda row: (key in _labels(row)) == (not verb)
    raise bad_request(f"unable to parse requirement: found '{term}'")


def _labels(row: Document) -> Mapping[str, str]:
    labels: Mapping[str, str] = row["metadata"].get("labels") or {}
    return labels
