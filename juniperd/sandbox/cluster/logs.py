"""What containers write, and how `pods/log` shows it: its end, since when, with times, and as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from juniperd.sandbox.cluster.authentication import Clock
from juniperd.sandbox.cluster.state import Pod
from juniperd.sandbox.cluster.status import StatusError, bad_request

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and when it was written."""

    moment: float
    text: str

    def shown(self, *, timestamps: bool) -> str:
        """As the client gets it."""
        if not timestamps:
            return f"{self.text}\n"
        return f"{datetime.fromtimestamp(self.moment, UTC).strftime('%Y-%m-%dT%H:%M:%S.%f000Z')} {self.text}\n"


@dataclass(slots=True)
class Log:
    """One container's output; `ended` once the container is over, `changed` set by the next line or the end."""

    lines: list[Line] = field(default_factory=list)
    ended: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> None:
        """Wake those who wait."""
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass(slots=True)
class Logs:
    """The output of every container."""

    clock: Clock = time.time
    _rows: dict[tuple[str, str, str], Log] = field(default_factory=dict)

    def fill(self, pod: Pod) -> None:
        """What a pod's containers wrote before; a second passed between two lines."""
        started = self.clock() - pod.age
        for one in pod.containers:
            lines = [Line(started + at, text) for at, text in enumerate(one.log)]
            self._rows[pod.namespace, pod.name, one.name] = Log(lines, ended=not one.running)

    def of(self, namespace: str, pod: str, container: str) -> Log:
        """One container's; `KeyError` where there is none."""
        return self._rows[namespace, pod, container]

    def write(self, namespace: str, pod: str, container: str, text: str) -> None:
        """The container writes a line."""
        log = self.of(namespace, pod, container)
        log.lines.append(Line(self.clock(), text))
        log.tell()

    def end(self, namespace: str, pod: str, container: str) -> None:
        """The container writes nothing more, and whoever follows it has read it all."""
        log = self.of(namespace, pod, container)
        log.ended = True
        log.tell()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request for a log asks."""

    container: str
    follow: bool
    timestamps: bool
    tail: int | None
    since: float | None
    limit: int | None

    @classmethod
    def read(cls, query: Mapping[str, str], pod: Document, now: float) -> Wanted:
        """From the query, or `StatusError` 400 in the API server's words."""
        container = _container(query.get("container", ""), pod)
        if _flag(query, "previous"):
            name = pod["metadata"]["name"]
            raise bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
        seconds, moment = _number(query, "sinceSeconds"), query.get("sinceTime")
        try:
            since = now - seconds if seconds is not None else moment and datetime.fromisoformat(moment).timestamp()
        except ValueError:
            raise bad_request(f"sinceTime: Invalid value: {moment}") from None
        return cls(
            container,
            follow=_flag(query, "follow"),
            timestamps=_flag(query, "timestamps"),
            tail=_number(query, "tailLines"),
            since=since or None,
            limit=_number(query, "limitBytes"),
        )

    def chosen(self, lines: list[Line]) -> list[Line]:
        """Of the lines that are there, those to show."""
        found = [line for line in lines if self.since is None or line.moment >= self.since]
        return found if self.tail is None else found[max(0, len(found) - self.tail) :]

    def text(self, lines: list[Line]) -> bytes:
        """The lines as they go out."""
        return "".join(line.shown(timestamps=self.timestamps) for line in lines).encode()


def _container(named: str, pod: Document) -> str:
    name, names = pod["metadata"]["name"], [one["name"] for one in pod["spec"]["containers"]]
    if named:
        if named not in names:
            raise bad_request(f"container {named} is not valid for pod {name}")
        return named
    if len(names) != 1:
        choice = " ".join(names)
        raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{choice}]")
    return str(names[0])


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "false").lower() not in ("false", "0")


def _number(query: Mapping[str, str], name: str) -> int | None:
    given = query.get(name)
    if given is None:
        return None
    if not given.isdecimal():
        raise StatusError(422, "Invalid", f'PodLogOptions "" is invalid: {name}: Invalid value: "{given}"')
    return int(given)
