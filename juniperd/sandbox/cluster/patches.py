"""Patches of objects: merge (RFC 7386), strategic merge, and JSON Patch (RFC 6902).

Of the strategic merge there is what objects without keyed lists need: the directives, and finalizers as a set.
https://github.com/kubernetes/design-proposals-archive/blob/main/cli/preserve-order-in-strategic-merge-patch.md
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

from juniperd.sandbox.cluster.status import StatusError, bad_request

Document = dict[str, Any]
JSON_PATCH: Final = "application/json-patch+json"
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
_SETS: Final = frozenset({"finalizers"})


def patched(row: Document, patch: Any, content_type: str) -> Document:  # noqa: ANN401  # any JSON
    """A new object with the patch in it, or `StatusError`."""
    if content_type == JSON_PATCH:
        return _operated(row, patch)
    if not isinstance(patch, dict):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        )
    return _strategic(row, patch) if content_type == STRATEGIC else _merged(row, patch)


def _merged(row: object, patch: object) -> Any:  # noqa: ANN401  # any JSON
    if not isinstance(patch, dict):
        return deepcopy(patch)
    found = deepcopy(row) if isinstance(row, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), value)
    return found


def _strategic(row: Document, patch: Document) -> Document:
    directive = patch.get("$patch", "merge")
    if directive == "delete":
        return {}
    found = {} if directive == "replace" else deepcopy(row)
    kept = patch.get("$retainKeys")
    for name, value in patch.items():
        if name.startswith(("$setElementOrder/", "$deleteFromPrimitiveList/")) or name in ("$patch", "$retainKeys"):
            continue
        if value is None:
            found.pop(name, None)
        elif isinstance(value, dict):
            inner = found.get(name)
            found[name] = _strategic(inner if isinstance(inner, dict) else {}, value)
        elif name in _SETS and isinstance(value, list):
            kept_before = found.get(name) or []
            found[name] = kept_before + [one for one in value if one not in kept_before]
        else:
            found[name] = deepcopy(value)
    for name in _SETS & found.keys():
        gone = patch.get(f"$deleteFromPrimitiveList/{name}")
        if isinstance(gone, list):
            found[name] = [value for value in found[name] if value not in gone]
    return {name: value for name, value in found.items() if not isinstance(kept, list) or name in kept}


def _operated(row: Document, operations: Any) -> Document:  # noqa: ANN401  # any JSON
    found: Any = deepcopy(row)
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    for operation in operations:
        try:
            _operate(found, operation)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError):
            message = "the server rejected our request due to an error in our request"
            raise StatusError(422, "Invalid", message, {}) from None
    return dict(found)


def _operate(document: Any, operation: Document) -> None:  # noqa: ANN401  # any JSON
    verb, path = operation["op"], _pointer(operation["path"])
    if verb in ("move", "copy"):
        source = _pointer(operation["from"])
        value = deepcopy(_at(document, source))
        if verb == "move":
            _remove(document, source)
        _add(document, path, value)
    elif verb == "test":
        if _at(document, path) != operation["value"]:
            raise ValueError(path)
    elif verb == "remove":
        _remove(document, path)
    elif verb == "replace":
        _remove(document, path)
        _add(document, path, operation["value"])
    elif verb == "add":
        _add(document, path, operation["value"])
    else:
        raise ValueError(verb)


def _pointer(text: str) -> list[str]:
    """A JSON Pointer's parts (RFC 6901); the whole document is not replaced here."""
    first, *parts = text.split("/")
    if first or not parts:
        raise ValueError(text)
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def _at(document: Any, path: list[str]) -> Any:  # noqa: ANN401  # any JSON
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _add(document: Any, path: list[str], value: object) -> None:  # noqa: ANN401  # any JSON
    holder, last = _at(document, path[:-1]), path[-1]
    if isinstance(holder, list):
        holder.insert(len(holder) if last == "-" else int(last), value)
    else:
        holder[last] = value


def _remove(document: Any, path: list[str]) -> None:  # noqa: ANN401  # any JSON
    holder, last = _at(document, path[:-1]), path[-1]
    del holder[int(last) if isinstance(holder, list) else last]
