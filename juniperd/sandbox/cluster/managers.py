"""Which client set which field (`metadata.managedFields`), and server-side apply, which goes by that.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from juniperd.sandbox.cluster.status import StatusError

Document = dict[str, Any]
Path = tuple[str, ...]
Owner = tuple[str, str]
"""A manager's name, and the operation by which it holds a field."""
APPLY, UPDATE = "Apply", "Update"
_CLIENT_SIDE: Final = "kubectl-client-side-apply"
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
"""An object with this was applied by a client itself, who may go on with its own fields."""
_MAPS: Final = (("data",), ("binaryData",), ("metadata", "labels"), ("metadata", "annotations"))
_UNOWNED: Final = frozenset(
    {
        ("apiVersion",),
        ("kind",),
        *(("metadata", name) for name in ("name", "namespace", "uid", "creationTimestamp", "generation")),
        *(("metadata", name) for name in ("resourceVersion", "managedFields")),
    }
)


@dataclass(frozen=True, slots=True)
class Manager:
    """Who writes, and by which operation; `time` is when, as the API writes it."""

    name: str
    operation: str
    time: str


def updated(before: Document, after: Document, manager: Manager) -> Document:
    """An object after an update: whatever changed is the writer's, and nobody else's any more."""
    if after["metadata"].get("managedFields") != before["metadata"].get("managedFields"):
        # A client that moves ownership itself, as kubectl does once it changes over to server-side apply.
        return _managed(after, after["metadata"].get("managedFields") or [])
    old, new = _fields_of(before), _fields_of(after)
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    owned = _read(before)
    for key in owned:
        owned[key] = (owned[key] & set(new)) - changed
    mine = (manager.name, manager.operation)
    if changed:
        owned[mine] = owned.get(mine, set()) | changed
    return _written(after, before, owned, manager)


def applied(before: Document | None, given: Document, manager: Manager, *, force: bool) -> Document:
    """An object after a server-side apply, or `StatusError` 409 where another manager has set a field otherwise."""
    row = deepcopy(before) if before is not None else {name: given[name] for name in ("apiVersion", "kind")}
    row.setdefault("metadata", {})
    for name in ("name", "namespace"):
        if name in given["metadata"]:
            row["metadata"][name] = given["metadata"][name]
    owned, wanted, present = _read(row), _leaves(given), _leaves(row)
    mine = (manager.name, APPLY)
    differing = {path for path, value in wanted.items() if path in present and present[path] != value}
    mine_before = _LAST_APPLIED in (row["metadata"].get("annotations") or {})
    _settle(owned, differing, mine, spared=_CLIENT_SIDE if mine_before else "", force=force)
    for path in owned.get(mine, set()) - set(wanted):
        if not any(path in paths for key, paths in owned.items() if key != mine):
            _drop(row, path)
    for path, value in wanted.items():
        _set(row, path, value)
    owned[mine] = set(wanted)
    return _written(row, before or {}, owned, manager)


def _settle(owned: dict[Owner, set[Path]], differing: set[Path], mine: Owner, *, spared: str, force: bool) -> None:
    """Take the fields from their owners, or say whose they are; one who is `spared` is no rival."""
    conflicts: dict[Owner, list[Path]] = {}
    for key in sorted(owned):
        found = sorted(owned[key] & differing)
        if key == mine or not found:
            continue
        if not force and key[0] != spared:
            conflicts[key] = found
        owned[key] -= differing
    if conflicts:
        raise _conflict(conflicts)


def _conflict(rows: dict[Owner, list[Path]]) -> StatusError:
    names = {key: f'"{key[0]}"' + ("" if key[1] == APPLY else " using v1") for key in rows}
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {names[key]}", "field": _dotted(path)}
        for key, paths in rows.items()
        for path in paths
    ]
    if len(causes) == 1:
        said = f"1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        each = [f"conflicts with {names[key]}:\n- " + "\n- ".join(map(_dotted, paths)) for key, paths in rows.items()]
        said = f"{len(causes)} conflicts: " + "\n".join(each)
    return StatusError(409, "Conflict", f"Apply failed with {said}", {"causes": causes})


def _dotted(path: Path) -> str:
    return "".join(f".{part}" for part in path)


def _leaves(row: Document) -> dict[Path, object]:
    return {path: value for path, value in _walk(row, ()) if path not in _UNOWNED}


def _fields_of(row: Document) -> dict[Path, object]:
    """The leaves, and the maps themselves, which belong to the first who puts something into one."""
    maps: dict[Path, object] = {path: {} for path in _MAPS if isinstance(_value(row, path), dict)}
    return maps | _leaves(row)


def _value(row: Document, path: Path) -> object:
    found: Any = row
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _walk(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    if not isinstance(value, dict) or not value:
        yield path, value
        return
    for name, inner in value.items():
        if (*path, name) not in _UNOWNED:
            yield from _walk(inner, (*path, name))


def _set(row: Document, path: Path, value: object) -> None:
    holder = row
    for part in path[:-1]:
        inner = holder.get(part)
        holder[part] = holder = inner if isinstance(inner, dict) else {}
    if value != {} or path[-1] not in holder:
        holder[path[-1]] = deepcopy(value)


def _drop(row: Document, path: Path) -> None:
    holder = _value(row, path[:-1])
    # A map goes when nothing is in it any more.
    if isinstance(holder, dict) and not (path in _MAPS and holder.get(path[-1])):
        holder.pop(path[-1], None)


# --- FieldsV1 ---------------------------------------------------------------------------------------------------------


def _read(row: Document) -> dict[Owner, set[Path]]:
    entries = row["metadata"].get("managedFields") or []
    return {(one["manager"], one["operation"]): set(_paths(one.get("fieldsV1") or {}, ())) for one in entries}


def _paths(fields: Document, path: Path) -> Iterator[Path]:
    for name, inner in fields.items():
        if name.startswith("f:"):
            below = (*path, name[2:])
            if not inner or "." in inner:
                yield below
            yield from _paths(inner, below)


def _written(row: Document, before: Document, owned: dict[Owner, set[Path]], manager: Manager) -> Document:
    times = {
        (one["manager"], one["operation"]): one.get("time", manager.time)
        for one in before.get("metadata", {}).get("managedFields") or []
    }
    mine = (manager.name, manager.operation)
    entries = [
        {
            "manager": key[0],
            "operation": key[1],
            "apiVersion": row["apiVersion"],
            "time": manager.time if key == mine else times.get(key, manager.time),
            "fieldsType": "FieldsV1",
            "fieldsV1": _fields(paths),
        }
        for key, paths in sorted(owned.items(), key=lambda item: item[0][1] != APPLY)
        if paths
    ]
    if entries and _same_but_times(before, entries):
        entries = before["metadata"]["managedFields"]
    return _managed(row, entries)


def _managed(row: Document, entries: list[Document]) -> Document:
    metadata = {name: value for name, value in row["metadata"].items() if name != "managedFields"}
    return row | {"metadata": metadata | ({"managedFields": entries} if entries else {})}


def _same_but_times(before: Document, entries: list[Document]) -> bool:
    """An update of nothing stays one."""
    old = before.get("metadata", {}).get("managedFields") or []
    return [one | {"time": ""} for one in old] == [one | {"time": ""} for one in entries]


def _fields(paths: Collection[Path]) -> Document:
    found: Document = {}
    for path in sorted(paths):
        holder = found
        for part in path:
            holder = holder.setdefault(f"f:{part}", {})
    for path in paths:
        holder = found
        for part in path:
            holder = holder[f"f:{part}"]
        if holder:
            holder["."] = {}
    return found
