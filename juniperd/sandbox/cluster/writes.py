"""Creating, changing and deleting objects. ConfigMaps are the only ones that this cluster lets anybody write."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from juniperd.sandbox.cluster import validation
from juniperd.sandbox.cluster.authentication import Clock
from juniperd.sandbox.cluster.bodies import checked, read_object, read_patch
from juniperd.sandbox.cluster.call import Call
from juniperd.sandbox.cluster.kinds import NAMESPACE, Kind
from juniperd.sandbox.cluster.managers import APPLY as BY_APPLY
from juniperd.sandbox.cluster.managers import UPDATE, Manager, applied, updated
from juniperd.sandbox.cluster.objects import Key, Objects
from juniperd.sandbox.cluster.patches import APPLY, JSON_PATCH, MERGE, STRATEGIC, patched
from juniperd.sandbox.cluster.shapes import rfc3339
from juniperd.sandbox.cluster.status import (
    StatusError,
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
)

if TYPE_CHECKING:
    from aiohttp import web

Document = dict[str, Any]
PATCHES: Final = (JSON_PATCH, MERGE, STRATEGIC, APPLY)
_OURS: Final = frozenset(
    {"uid", "creationTimestamp", "deletionTimestamp", "resourceVersion", "generation", "selfLink", "managedFields"}
)
"""Metadata that a client's new object may hold and the server says."""
_KEPT: Final = ("uid", "creationTimestamp")


@dataclass(frozen=True, slots=True)
class Written:
    """An object as it is after a write, whether it is new, and what the client is warned of."""

    row: Document
    created: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Writes:
    """The verbs that change something, over one cluster's objects."""

    objects: Objects
    clock: Clock = time.time

    async def create(self, request: web.Request, call: Call, kind: Kind) -> Written:
        """POST to a namespace."""
        given = await read_object(request, kind)
        if self.objects.get(Key(NAMESPACE, "", call.namespace)) is None:
            raise not_found(Call("get", "", resource="namespaces", name=call.namespace))
        row, warnings = _decoded(request, given, call)
        if row["metadata"].get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        row["metadata"] = self._named({name: row["metadata"][name] for name in row["metadata"] if name not in _OURS})
        key = Key(kind, call.namespace, str(row["metadata"].get("name", "")))
        validation.check(row)
        if self.objects.get(key) is not None:
            raise already_exists(call, key.name)
        nothing: Document = {"metadata": {}}
        managed = updated(nothing, row, self._manager(request, UPDATE))
        return Written(self._put(request, key, managed), created=True, warnings=warnings)

    async def update(self, request: web.Request, call: Call, kind: Kind) -> Written:
        """PUT of a whole object."""
        key = Key(kind, call.namespace, call.name)
        row, warnings = _decoded(request, await read_object(request, kind), call)
        before = self.objects.get(key)
        if before is None:
            raise not_found(call)
        return Written(self._change(request, call, key, before, row), warnings=warnings)

    async def patch(self, request: web.Request, call: Call, kind: Kind) -> Written:
        """PATCH in one of four forms."""
        if request.content_type not in PATCHES:
            raise StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
        key = Key(kind, call.namespace, call.name)
        before, patch = self.objects.get(key), read_patch(await request.read())
        if request.content_type == APPLY:
            return self._apply(request, call, key, before, patch)
        if before is None:
            raise not_found(call)
        row, warnings = _decoded(request, checked(patched(before, patch, request.content_type), kind), call)
        return Written(self._change(request, call, key, before, row), warnings=warnings)

    def delete(self, request: web.Request, call: Call, kind: Kind) -> Document:
        """DELETE; the answer is a Status that says what is gone."""
        key = Key(kind, call.namespace, call.name)
        row = self.objects.get(key)
        if row is None:
            raise not_found(call)
        if not _dry(request):
            self.objects.delete(key)
        details = {"name": call.name, "kind": call.resource, "uid": row["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _named(self, metadata: Document) -> Document:
        """The metadata with a name, which is made where the client gave the begin of one alone."""
        if metadata.get("name") or not metadata.get("generateName"):
            return metadata
        return metadata | {"name": metadata["generateName"] + self.objects.ids()[:5]}

    def delete_all(self, request: web.Request, rows: list[Document], kind: Kind) -> None:
        """DELETE of a selection."""
        for row in rows:
            if not _dry(request):
                self.objects.delete(Key(kind, row["metadata"]["namespace"], row["metadata"]["name"]))

    def _change(self, request: web.Request, call: Call, key: Key, before: Document, row: Document) -> Document:
        """The object in the place of another, which must be the one that the client saw."""
        old, new = before["metadata"], row["metadata"]
        if new.get("resourceVersion") not in (None, "", old["resourceVersion"]):
            why = "the object has been modified; please apply your changes to the latest version and try again"
            raise conflict(call, why)
        new |= {name: old[name] for name in (*_KEPT, "resourceVersion")}
        new.setdefault("managedFields", old.get("managedFields", []))
        validation.check(row)
        validation.check_change(before, row)
        return self._put(request, key, updated(before, row, self._manager(request, UPDATE)))

    def _apply(self, request: web.Request, call: Call, key: Key, before: Document | None, patch: object) -> Written:
        if not request.query.get("fieldManager"):
            why = "Required value: is required for apply patch"
            raise invalid("PatchOptions.meta.k8s.io", "", "fieldManager", why, group="meta.k8s.io")
        if not isinstance(patch, dict):
            raise bad_request("error decoding YAML: no object")
        given, warnings = _decoded(request, checked(patch, key.kind), call)
        if given["metadata"].get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        force = request.query.get("force") == "true"
        row = applied(before, given, self._manager(request, BY_APPLY), force=force)
        validation.check(row)
        if before is not None:
            validation.check_change(before, row)
        return Written(self._put(request, key, row), created=before is None, warnings=warnings)

    def _put(self, request: web.Request, key: Key, row: Document) -> Document:
        new = self.objects.get(key) is None
        if _dry(request):
            return self.objects.prepared(row) if new else row
        return self.objects.create(key, row) if new else self.objects.replace(key, row)

    def _manager(self, request: web.Request, operation: str) -> Manager:
        """The name the client gives itself, or the begin of its User-Agent."""
        agent = request.headers.get("User-Agent", "").partition("/")[0]
        return Manager(request.query.get("fieldManager", agent), operation, rfc3339(self.clock()))


def _decoded(request: web.Request, given: Document, call: Call) -> tuple[Document, tuple[str, ...]]:
    """The object's own fields, and a warning for each that is none, unless the client would have it strict."""
    metadata = given["metadata"]
    if call.name and metadata.setdefault("name", call.name) != call.name:
        why = f"the name of the object ({metadata['name']}) does not match the name on the URL ({call.name})"
        raise bad_request(why)
    if metadata.setdefault("namespace", call.namespace) != call.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    mode = request.query.get("fieldValidation", "Warn")
    if mode == "Strict":
        validation.strict(given)
    warnings = tuple(f'unknown field "{path}"' for path in validation.unknown_fields(given)) if mode == "Warn" else ()
    return validation.typed(given), warnings


def _dry(request: web.Request) -> bool:
    return request.query.get("dryRun") == "All"
