"""Requests for objects, by verb."""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from juniperd.sandbox.cluster import kinds
from juniperd.sandbox.cluster.access import Access
from juniperd.sandbox.cluster.authentication import Clock, User
from juniperd.sandbox.cluster.bodies import read_object
from juniperd.sandbox.cluster.call import Call
from juniperd.sandbox.cluster.kinds import POD, Kind
from juniperd.sandbox.cluster.logs import Logs, Wanted
from juniperd.sandbox.cluster.negotiation import of_objects
from juniperd.sandbox.cluster.objects import Key, Objects
from juniperd.sandbox.cluster.reviews import review
from juniperd.sandbox.cluster.selectors import selector
from juniperd.sandbox.cluster.shapes import rfc3339
from juniperd.sandbox.cluster.site import json_answer
from juniperd.sandbox.cluster.status import (
    PathUnknown,
    bad_request,
    method_not_allowed,
    not_found,
    resource_unknown,
)
from juniperd.sandbox.cluster.streams import LOG_TYPE, LONGEST, WATCH_TYPE, Streams, Watch, seconds
from juniperd.sandbox.cluster.tables import table
from juniperd.sandbox.cluster.writes import Writes, Written

Document = dict[str, Any]


@dataclass(slots=True)
class Resources:
    """The handlers over one cluster's objects; who asks was authorized before."""

    objects: Objects
    logs: Logs
    clock: Clock = time.time
    streams: Streams = field(default_factory=Streams)
    writes: Writes = field(init=False)

    def __post_init__(self) -> None:
        self.writes = Writes(self.objects, self.clock)

    async def answer(self, request: web.Request, call: Call, user: User, access: Access) -> web.StreamResponse:
        """The answer, or `StatusError`, or `PathUnknown`."""
        kind = _kind(call)
        if call.subresource:
            return await self._log(request, call)
        if kind.verbs == ("create",):
            asked = await read_object(request, kind)
            return json_answer(review(kind, asked, user, access, rfc3339(self.clock())), status=201)
        if call.verb == "watch":
            return await self._watch(request, call, kind)
        at_once = {
            "get": self._get,
            "list": self._list,
            "delete": self._delete,
            "deletecollection": self._delete_all,
        }.get(call.verb)
        if at_once is not None:
            return at_once(request, call, kind)
        write = {"create": self.writes.create, "update": self.writes.update, "patch": self.writes.patch}[call.verb]
        return self._said(request, kind, await write(request, call, kind))

    def _get(self, request: web.Request, call: Call, kind: Kind) -> web.Response:
        row = self.objects.get(_key(call, kind))
        if row is None:
            raise not_found(call)
        return self._written(request, kind, row, [row])

    def _delete(self, request: web.Request, call: Call, kind: Kind) -> web.Response:
        return json_answer(self.writes.delete(request, call, kind))

    def _list(self, request: web.Request, call: Call, kind: Kind) -> web.Response:
        selects = selector(request.query, kind)
        rows = [row for row in self.objects.all(kind, call.namespace) if selects(row)]
        metadata = {"resourceVersion": str(self.objects.version)}
        rows, more = _chunk(request, rows)
        metadata |= more
        return self._written(request, kind, _listed(kind, rows, metadata), rows)

    def _delete_all(self, request: web.Request, call: Call, kind: Kind) -> web.Response:
        selects = selector(request.query, kind)
        rows = [row for row in self.objects.all(kind, call.namespace) if selects(row)]
        self.writes.delete_all(request, rows, kind)
        return json_answer(_listed(kind, rows, {"resourceVersion": str(self.objects.version)}))

    def _written(
        self, request: web.Request, kind: Kind, found: Document, rows: list[Document], *, status: int = 200
    ) -> web.Response:
        """An object or a list in the form that the client takes."""
        form = of_objects(request.headers.get("Accept", ""))
        if form.kind != "Table":
            return json_answer(found, status=status)
        include = request.query.get("includeObject", "Metadata")
        drawn = table(kind, form.version, rows, self.clock(), include=include)
        kept = ("resourceVersion", "continue", "remainingItemCount")
        metadata = {name: value for name, value in found["metadata"].items() if name in kept}
        return json_answer(drawn | {"metadata": metadata}, status=status)

    def _said(self, request: web.Request, kind: Kind, written: Written) -> web.Response:
        answer = self._written(request, kind, written.row, [written.row], status=201 if written.created else 200)
        for text in written.warnings:
            quoted = text.replace("\\", "\\\\").replace('"', '\\"')
            answer.headers.add("Warning", f'299 - "{quoted}"')
        return answer

    async def _watch(self, request: web.Request, call: Call, kind: Kind) -> web.StreamResponse:
        form = of_objects(request.headers.get("Accept", ""))
        selects = selector(request.query, kind)
        watch = Watch.of(request, kind, call.namespace, self.objects, selects=selects, form=form, clock=self.clock)
        events = self.streams.events(request, watch)
        return await self.streams.send(request, events, content_type=WATCH_TYPE, limit=seconds(request))

    async def _log(self, request: web.Request, call: Call) -> web.StreamResponse:
        pod = self.objects.get(_key(call, POD))
        if pod is None:
            raise not_found(call)
        wanted = Wanted.read(request.query, pod, self.clock())
        log = self.logs.of(call.namespace, call.name, wanted.container)
        if wanted.follow:
            parts = self.streams.follow(request, log, wanted)
            return await self.streams.send(request, parts, content_type=LOG_TYPE, limit=LONGEST)
        text = wanted.text(wanted.chosen(log.lines))[: wanted.limit]
        return web.Response(body=text, headers={"Content-Type": LOG_TYPE, "Cache-Control": "no-cache, private"})


def _kind(call: Call) -> Kind:
    """The kind behind the path, which knows the verb; or `StatusError`, or `PathUnknown`."""
    kind = kinds.find(call.group, call.version, call.resource)
    if kind is None:
        if call.group in ("", *kinds.GROUPS):
            raise resource_unknown()
        raise PathUnknown
    below = dict(kind.subresources)
    if call.subresource and call.subresource not in below:
        raise resource_unknown()
    if call.verb not in (below[call.subresource] if call.subresource else kind.verbs):
        raise method_not_allowed()
    if kind.namespaced and call.verb in ("create", "deletecollection") and not call.namespace:
        raise method_not_allowed()
    if (call.verb == "create" and call.name) or (call.verb in ("update", "patch") and not call.name):
        raise method_not_allowed()
    return kind


def _key(call: Call, kind: Kind) -> Key:
    return Key(kind, call.namespace if kind.namespaced else "", call.name)


def _listed(kind: Kind, rows: list[Document], metadata: Document) -> Document:
    """A list, whose own kind says what its items are."""
    items = [{name: value for name, value in row.items() if name not in ("kind", "apiVersion")} for row in rows]
    return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": items}


def _chunk(request: web.Request, rows: list[Document]) -> tuple[list[Document], Document]:
    """The part of a list that `limit` and `continue` ask for, and what its metadata says of the rest."""
    try:
        begin = max(0, int(base64.urlsafe_b64decode(request.query.get("continue", "") or "MA==")))
    except (ValueError, binascii.Error):
        raise bad_request("invalid continue token: continue key is not valid") from None
    limit = request.query.get("limit", "")
    end = begin + (int(limit) if limit.isdecimal() and int(limit) else len(rows))
    if end >= len(rows):
        return rows[begin:], {}
    token = base64.urlsafe_b64encode(str(end).encode()).decode()
    return rows[begin:end], {"continue": token, "remainingItemCount": len(rows) - end}
