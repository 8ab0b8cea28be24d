"""Objects as rows of a table, which the API server draws for `kubectl get`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from juniperd.sandbox.cluster.kinds import CONFIG_MAP, NAMESPACE, POD, Kind

Document = dict[str, Any]
Cells = Callable[[Document], list[object]]

_WIDE: Final = 1


def table(kind: Kind, version: str, rows: list[Document], now: float, *, include: str = "Metadata") -> Document:
    """The rows under their columns; `include` is how much of each object comes along: Metadata, Object or None."""
    columns, cells = _FORMS.get(kind, (_NAME_AND_AGE, _name_and_age))
    body = [{"cells": _cells(cells, row, now), **_object(row, version, include)} for row in rows]
    head: Document = {"kind": "Table", "apiVersion": f"meta.k8s.io/{version}", "metadata": {}}
    return head | {"columnDefinitions": [_column(*column) for column in columns], "rows": body}


def age(created: str | None, now: float) -> str:
    """How long ago, in the two largest units that matter, as kubectl writes it."""
    if created is None:
        return "<unknown>"
    seconds = int(now - datetime.fromisoformat(created).timestamp())
    if seconds < 0:
        return "0s" if seconds >= -1 else "<invalid>"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    steps: tuple[tuple[bool, str], ...] = (
        (seconds < 120, f"{seconds}s"),
        (minutes < 10, f"{minutes}m{_left(seconds % 60, 's')}"),
        (minutes < 180, f"{minutes}m"),
        (hours < 8, f"{hours}h{_left(minutes % 60, 'm')}"),
        (hours < 48, f"{hours}h"),
        (hours < 192, f"{days}d{_left(hours % 24, 'h')}"),
        (days < 730, f"{days}d"),
        (days < 2920, f"{days // 365}y{_left(days % 365, 'd')}"),
    )
    return next((text for fits, text in steps if fits), f"{days // 365}y")


def _left(count: int, unit: str) -> str:
    return f"{count}{unit}" if count else ""


def _column(name: str, kind: str = "string", priority: int = 0) -> Document:
    form = "name" if name == "Name" else ""
    return {"name": name, "type": kind, "format": form, "description": name, "priority": priority}


def _cells(cells: Cells, row: Document, now: float) -> list[object]:
    """The age stands where the kind's own cells say so."""
    return [age(row["metadata"].get("creationTimestamp"), now) if cell is _AGE else cell for cell in cells(row)]


def _object(row: Document, version: str, include: str) -> Document:
    if include == "None":
        return {}
    if include == "Object":
        return {"object": row}
    head = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}"}
    return {"object": head | {"metadata": row["metadata"]}}


def _name_and_age(row: Document) -> list[object]:
    return [row["metadata"]["name"], _AGE]


def _config_map(row: Document) -> list[object]:
    return [row["metadata"]["name"], len(row.get("data", {})) + len(row.get("binaryData", {})), _AGE]


def _namespace(row: Document) -> list[object]:
    return [row["metadata"]["name"], row["status"]["phase"], _AGE]


def _pod(row: Document) -> list[object]:
    status = row["status"]
    containers = status["containerStatuses"]
    ready = sum(1 for one in containers if one["ready"])
    said = "Completed" if status["phase"] == "Succeeded" else status["phase"]
    restarts = str(sum(one["restartCount"] for one in containers))
    place: list[object] = [status["podIP"], row["spec"]["nodeName"], "<none>", "<none>"]
    return [row["metadata"]["name"], f"{ready}/{len(containers)}", said, restarts, _AGE, *place]


_AGE: Final = object()
_NAME_AND_AGE: Final = (("Name",), ("Age",))
_FORMS: Final[dict[Kind, tuple[tuple[tuple[Any, ...], ...], Cells]]] = {
    CONFIG_MAP: ((("Name",), ("Data",), ("Age",)), _config_map),
    NAMESPACE: ((("Name",), ("Status",), ("Age",)), _namespace),
    POD: (
        (
            ("Name",),
            ("Ready",),
            ("Status",),
            ("Restarts",),
            ("Age",),
            ("IP", "string", _WIDE),
            ("Node", "string", _WIDE),
            ("Nominated Node", "string", _WIDE),
            ("Readiness Gates", "string", _WIDE),
        ),
        _pod,
    ),
}
