"""The objects of a cluster, one counter of versions for all of them, and every change in order, for those who watch."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from juniperd.sandbox.cluster.authentication import Clock
from juniperd.sandbox.cluster.kinds import CONFIG_MAP, NAMESPACE, POD, Kind
from juniperd.sandbox.cluster.shapes import config_map_object, namespace_object, pod_object, rfc3339
from juniperd.sandbox.cluster.state import ClusterState

Document = dict[str, Any]
Ids = Callable[[], str]
_ALWAYS: Final = ("default", "kube-system")


@dataclass(frozen=True, slots=True)
class Key:
    """Where an object lives; a namespace itself lives in none."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """One change: what was there before, and what is there after, one of them None at its begin and end."""

    version: int
    key: Key
    before: Document | None
    after: Document | None


def new_id() -> str:
    """A random UID."""
    return str(uuid.uuid4())


@dataclass(slots=True)
class Objects:
    """Every object. What goes in and comes out is a copy, so that nothing changes without a version of its own.

    `changed` is set by the next change, and another one stands in its place from then on.
    """

    clock: Clock = time.time
    ids: Ids = new_id
    version: int = 1000
    changes: list[Change] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _rows: dict[Key, Document] = field(default_factory=dict)

    def fill(self, state: ClusterState) -> None:
        """Put the first state in."""
        now = self.clock()
        for name in dict.fromkeys((*_ALWAYS, *state.namespaces)):
            self.create(Key(NAMESPACE, "", name), namespace_object(name))
        for pod in state.pods:
            self.create(Key(POD, pod.namespace, pod.name), pod_object(pod, now - pod.age))
        for row in state.config_maps:
            self.create(Key(CONFIG_MAP, row.namespace, row.name), config_map_object(row))

    def get(self, key: Key) -> Document | None:
        """The object, if there is one."""
        return deepcopy(self._rows.get(key))

    def all(self, kind: Kind, namespace: str) -> Iterator[Document]:
        """The objects of a kind, of one namespace or of all, ordered by namespace and name."""
        keys = [key for key in self._rows if key.kind == kind and namespace in ("", key.namespace)]
        for key in sorted(keys, key=lambda key: (key.namespace, key.name)):
            yield deepcopy(self._rows[key])

    def create(self, key: Key, given: Document) -> Document:
        """Put a new object in; its UID, creation and version are given here."""
        return self._commit(key, self.prepared(given))

    def prepared(self, given: Document) -> Document:
        """A new object as it would be put in, yet without a version."""
        row = deepcopy(given)
        metadata = {name: value for name, value in row.get("metadata", {}).items() if name != "resourceVersion"}
        row["metadata"] = {"creationTimestamp": rfc3339(self.clock())} | metadata | {"uid": self.ids()}
        return row

    def replace(self, key: Key, given: Document) -> Document:
        """Put another object in the place of one; nothing happens where they are the same."""
        row, before = deepcopy(given), self._rows[key]
        if _without_version(row) == _without_version(before):
            return deepcopy(before)
        return self._commit(key, row)

    def delete(self, key: Key) -> Document:
        """Take an object away; the answer is what it was, with the version of its end."""
        before = self._rows.pop(key)
        self.version += 1
        last = deepcopy(before)
        last["metadata"]["resourceVersion"] = str(self.version)
        self._tell(Change(self.version, key, last, None))
        return last

    def _commit(self, key: Key, row: Document) -> Document:
        self.version += 1
        row["metadata"]["resourceVersion"] = str(self.version)
        before = self._rows.get(key)
        self._rows[key] = row
        self._tell(Change(self.version, key, before, row))
        return deepcopy(row)

    def _tell(self, change: Change) -> None:
        self.changes.append(change)
        self.changed.set()
        self.changed = asyncio.Event()


def _without_version(row: Document) -> Document:
    metadata = {name: value for name, value in row["metadata"].items() if name != "resourceVersion"}
    return row | {"metadata": metadata}
