"""Answers that stay open: watches, and logs that are followed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from juniperd.sandbox.cluster.authentication import Clock
from juniperd.sandbox.cluster.kinds import Kind
from juniperd.sandbox.cluster.logs import Log, Wanted
from juniperd.sandbox.cluster.negotiation import JSON, Form
from juniperd.sandbox.cluster.objects import Change, Objects
from juniperd.sandbox.cluster.selectors import Selector
from juniperd.sandbox.cluster.status import StatusError, bad_request
from juniperd.sandbox.cluster.tables import table

Document = dict[str, Any]
LONGEST: Final = 1800.0
"""Seconds a watch stays open whose client said no `timeoutSeconds`."""
_LOOK: Final = 1.0
"""Seconds between two looks whether the client is still there; aiohttp says nothing of itself."""


@dataclass(slots=True)
class Streams:
    """Every open answer of one server; `close` ends them all, so that it need not wait for its clients."""

    clock: Clock = time.time
    _closing: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        """End them."""
        self._closing.set()

    async def send(
        self, request: web.Request, parts: AsyncIterator[bytes], *, content_type: str, limit: float
    ) -> web.StreamResponse:
        """Send the parts as they come, until they end, the client leaves, or so many seconds have passed."""
        answer = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-cache, private"})
        await answer.prepare(request)
        # A client that has what it wanted goes away in the middle.
        with suppress(ConnectionError):
            with suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    async for part in parts:
                        await answer.write(part)
            await answer.write_eof()
        return answer

    async def wait(self, request: web.Request, change: asyncio.Event) -> bool:
        """Whether there is a change; False where the server closes or the client is gone."""
        waits = [asyncio.ensure_future(one.wait()) for one in (change, self._closing)]
        try:
            while not any(one.done() for one in waits):
                await asyncio.wait(waits, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
                if request.transport is None or request.transport.is_closing():
                    return False
            return not self._closing.is_set()
        finally:
            for one in waits:
                one.cancel()

    async def follow(self, request: web.Request, log: Log, wanted: Wanted) -> AsyncIterator[bytes]:
        """A log's chosen lines, then each as it is written, to the container's end or the limit of bytes."""
        seen, left = len(log.lines), wanted.limit
        part = wanted.text(wanted.chosen(log.lines))
        while True:
            yield part[:left]
            left = None if left is None else left - len(part)
            # Taken before the lines are counted: one that is written meanwhile has set it.
            change = log.changed
            fresh, seen = log.lines[seen:], len(log.lines)
            part = wanted.text(fresh)
            over = log.ended and not part
            if over or (left is not None and left <= 0) or not (part or await self.wait(request, change)):
                return

    async def events(self, request: web.Request, watch: Watch) -> AsyncIterator[bytes]:
        """A watch's events: what is there, where that was asked, then every change."""
        for event in watch.first():
            yield event
        while watch.open:
            change = watch.objects.changed
            for event in watch.fresh():
                yield event
            if not await self.wait(request, change):
                return


@dataclass(slots=True)
class Watch:
    """One watch: which objects, from which version on, and in which form."""

    objects: Objects
    kind: Kind
    namespace: str
    selects: Selector
    form: Form
    include: str
    clock: Clock
    since: int
    initial: bool
    bookmark: bool
    open: bool = True
    _headed: bool = False

    @classmethod
    def of(cls, request: web.Request, kind: Kind, namespace: str, objects: Objects, **more: Any) -> Watch:  # noqa: ANN401  # the other fields
        """From the query: without a version, or from 0, it begins with what is there."""
        given, sent = request.query.get("resourceVersion", ""), request.query.get("sendInitialEvents")
        if given and not given.isdecimal():
            raise bad_request(f'resourceVersion: Invalid value: "{given}"')
        initial = sent == "true" or (sent is None and given in ("", "0"))
        since = objects.version if initial or not given else int(given)
        include = request.query.get("includeObject", "Metadata")
        return cls(
            objects, kind, namespace, include=include, since=since, initial=initial, bookmark=sent == "true", **more
        )

    def first(self) -> Iterator[bytes]:
        """What is there, or that the version asked for is not known any more."""
        if not self.initial:
            oldest = self.objects.changes[0].version - 1 if self.objects.changes else self.objects.version
            if self.since < oldest:
                self.open = False
                gone = StatusError(410, "Expired", f"too old resource version: {self.since} ({oldest})")
                yield _event("ERROR", gone.body())
            return
        for row in self.objects.all(self.kind, self.namespace):
            if self.selects(row):
                yield self._said("ADDED", row)
        if self.bookmark:
            yield _event("BOOKMARK", self._end_of_initial_events())

    def fresh(self) -> Iterator[bytes]:
        """The changes since the last time."""
        changes = [change for change in self.objects.changes if change.version > self.since]
        self.since = max(self.since, self.objects.version)
        for change in changes:
            if change.key.kind == self.kind and self.namespace in ("", change.key.namespace):
                yield from self._told(change)

    def _told(self, change: Change) -> Iterator[bytes]:
        """A change that brings an object into the selection, or takes it out, is a begin or an end."""
        was, row = self._selected(change.before), self._selected(change.after)
        if row is not None:
            yield self._said("ADDED" if was is None else "MODIFIED", row)
        elif was is not None:
            yield self._said("DELETED", was | {"metadata": was["metadata"] | {"resourceVersion": str(change.version)}})

    def _selected(self, row: Document | None) -> Document | None:
        return row if row is not None and self.selects(row) else None

    def _said(self, kind: str, row: Document) -> bytes:
        if self.form.kind != "Table":
            return _event(kind, row)
        drawn = table(self.kind, self.form.version, [row], self.clock(), include=self.include)
        drawn["metadata"] = {"resourceVersion": row["metadata"]["resourceVersion"]}
        if self._headed:
            # The columns stand in the first event alone.
            drawn["columnDefinitions"] = None
        self._headed = True
        return _event(kind, drawn)

    def _end_of_initial_events(self) -> Document:
        metadata = {"resourceVersion": str(self.since), "annotations": {"k8s.io/initial-events-end": "true"}}
        return {"kind": self.kind.kind, "apiVersion": self.kind.api_version, "metadata": metadata}


def seconds(request: web.Request) -> float:
    """How long a watch may stay open."""
    given = request.query.get("timeoutSeconds", "")
    return float(given) if given.isdecimal() and int(given) else LONGEST


def _event(kind: str, row: Document) -> bytes:
    return json.dumps({"type": kind, "object": row}, separators=(",", ":")).encode() + b"\n"


WATCH_TYPE: Final = JSON
LOG_TYPE: Final = "text/plain"
