"""What a ConfigMap must be to be stored: its own fields, their types, and names that are names.

https://kubernetes.io/docs/concepts/configuration/configmap/#configmap-object
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from juniperd.sandbox.cluster.status import StatusError, bad_request, invalid

Document = dict[str, Any]
KIND: Final = "ConfigMap"
TEXTS: Final = ("data", "binaryData")
METADATA: Final = {
    "name": str,
    "generateName": str,
    "namespace": str,
    "uid": str,
    "resourceVersion": str,
    "selfLink": str,
    "creationTimestamp": str,
    "deletionTimestamp": str,
    "deletionGracePeriodSeconds": int,
    "generation": int,
    "labels": dict,
    "annotations": dict,
    "finalizers": list,
    "ownerReferences": list,
    "managedFields": list,
}
FIELDS: Final = {"apiVersion": str, "kind": str, "metadata": dict, "data": dict, "binaryData": dict, "immutable": bool}
_GO: Final = {str: "string", dict: "map[string]string", list: "[]", int: "int64", bool: "bool"}
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_KEY: Final = re.compile(r"[-._a-zA-Z0-9]+", re.ASCII)
_LIMIT: Final = 1024 * 1024


def unknown_fields(row: Document) -> list[str]:
    """The fields that a ConfigMap has not, with their paths."""
    inner = [f"metadata.{name}" for name in row["metadata"] if name not in METADATA]
    return inner + [name for name in row if name not in FIELDS]


def strict(row: Document) -> None:
    """`StatusError` 400 where there is such a field."""
    if found := unknown_fields(row):
        said = ", ".join(f'unknown field "{path}"' for path in found)
        raise bad_request(f'{KIND} in version "v1" cannot be handled as a {KIND}: strict decoding error: {said}')


def typed(row: Document) -> Document:
    """The object with its own fields alone; `StatusError` 400 for a value of another type."""
    kept = _present(row, FIELDS) | {"metadata": _present(row["metadata"], METADATA)}
    for holder, types, path in ((kept, FIELDS, KIND), (kept["metadata"], METADATA, "ObjectMeta.metadata")):
        for name, value in holder.items():
            if type(value) is not types[name]:
                raise _type_error(value, f"{path}.{name}", _GO[types[name]])
    maps = {f"{KIND}.{name}": kept.get(name, {}) for name in TEXTS}
    maps |= {f"ObjectMeta.metadata.{name}": kept["metadata"].get(name, {}) for name in ("labels", "annotations")}
    for path, found in maps.items():
        for value in found.values():
            if not isinstance(value, str):
                raise _type_error(value, path, "string")
    _check_lists(kept["metadata"])
    return kept


def _check_lists(metadata: Document) -> None:
    for name, wanted in (("finalizers", str), ("ownerReferences", dict), ("managedFields", dict)):
        for value in metadata.get(name, []):
            if not isinstance(value, wanted):
                raise _type_error(value, f"ObjectMeta.metadata.{name}", _GO[wanted])
    entries = metadata.get("managedFields")
    if entries == [{}]:
        # One that says nothing stands for none at all, in a patch that cannot empty a list.
        metadata["managedFields"] = []
    elif entries and not all(map(_is_entry, entries)):
        # The server goes on with those that it has.
        del metadata["managedFields"]


def _is_entry(entry: Document) -> bool:
    named = isinstance(entry.get("manager"), str) and entry.get("operation") in ("Apply", "Update")
    return named and _of_maps(entry.get("fieldsV1", {}))


def _of_maps(fields: object) -> bool:
    return isinstance(fields, dict) and all(map(_of_maps, fields.values()))


def _present(row: Document, fields: Mapping[str, type]) -> Document:
    """What is there; an empty map or list is not, but for managed fields, which are reset by one."""
    found = {name: value for name, value in row.items() if name in fields and value is not None}
    return {name: value for name, value in found.items() if value not in ({}, []) or name == "managedFields"}


def check(row: Document) -> None:
    """`StatusError` 422 for the first thing that is wrong with what it says."""
    name = str(row["metadata"].get("name", ""))
    for field, why in _flaws(row, name):
        raise invalid(KIND, name, field, why)


def _flaws(row: Document, name: str) -> Iterator[tuple[str, str]]:
    if not name:
        yield "metadata.name", "Required value: name or generateName is required"
    elif not _NAME.fullmatch(name) or len(name) > 253:
        yield "metadata.name", f'Invalid value: "{name}": no lowercase RFC 1123 subdomain'
    for key in (*row.get("data", {}), *row.get("binaryData", {})):
        if not _KEY.fullmatch(key) or len(key) > 253 or key in (".", ".."):
            yield f"data[{key}]", f'Invalid value: "{key}": no valid config key'
    if sum(len(value) for kind in TEXTS for value in row.get(kind, {}).values()) > _LIMIT:
        yield "[]", f"Too long: may not be more than {_LIMIT} bytes"


def check_change(before: Document, after: Document) -> None:
    """`StatusError` 422 for a change of what is immutable."""
    if not before.get("immutable"):
        return
    for name in ("immutable", *TEXTS):
        if before.get(name) != after.get(name):
            why = "Forbidden: field is immutable when `immutable` is set"
            raise invalid(KIND, before["metadata"]["name"], name, why)


def _type_error(value: object, path: str, wanted: str) -> StatusError:
    kinds = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    given = kinds.get(type(value), "value")
    why = f"json: cannot unmarshal {given} into Go struct field {path} of type {wanted}"
    return bad_request(f'{KIND} in version "v1" cannot be handled as a {KIND}: {why}')
