"""How an issuer fares: whether it lives, whether it can do its job, and its figures for Prometheus.

They have a listener of their own (``ops_listen``), plain http and closed to laptops: nothing there is secret, and nothing
there names a person.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from juniperd import __version__
from juniperd.errors import JuniperError
from juniperd.issuer import audit
from juniperd.issuer.judge import InForce
from juniperd.issuer.state import State
from juniperd.listener import timed
from juniperd.model import Clock

if TYPE_CHECKING:
    from prometheus_client.core import Metric

MOST_CONNECTIONS = 32
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus's text format, which also tells a browser to show it."""
AT_ONCE = 2_000
"""Records that are counted before others have their turn: nobody may have asked for a week."""
_COUNTS = """SELECT json_extract(body, '$.event'), json_extract(body, '$.verdict'), json_extract(body, '$.reason'),
             count(*), max(seq) FROM audit WHERE seq > ? AND seq <= ? GROUP BY 1, 2, 3"""

Counted = dict[tuple[str, str, str], int]


@dataclass(slots=True)
class Standing:
    """What the issuer has found out of itself: when its reader token was proven last, and until when it lives."""

    proven_at: float | None = None
    reader_ends: float | None = None
    unverified: int = 0


class Health:
    """Looks at the parts of a running issuer; asks nobody outside."""

    def __init__(self, state: State, in_force: InForce, standing: Standing, *, clock: Clock) -> None:
        self._state = state
        self._in_force = in_force
        self._standing = standing
        self._clock = clock
        self._started_at = clock()
        self._counted: Counted = {}
        self._seq = state.read(audit.head).seq

    def problems(self) -> list[str]:
        """Why it could not issue anything now, a line each with the cure; empty where it could."""
        found = []
        try:
            self._state.read(audit.head)
        except JuniperError as error:
            found.append(str(error))
        if self._state.problem is not None:
            found.append(str(self._state.problem))
        if self._standing.proven_at is None:
            found.append("the reader token is not proven yet; look at the log for what GitLab said")
        return found

    def app(self) -> web.Application:
        """``/healthz`` (it lives), ``/readyz`` (it could issue), ``/metrics``."""
        app = web.Application(middlewares=[timed])
        app.router.add_get("/healthz", self._lives)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def _lives(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _: web.Request) -> web.Response:
        problems = self.problems()
        text = "".join(f"{line}\n" for line in problems)
        return web.Response(text=text or "ok\n", status=503 if problems else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        from prometheus_client import CollectorRegistry, generate_latest

        while self._state.read(audit.head).seq - self._seq > AT_ONCE:
            self._state.read(self._count)
            await asyncio.sleep(0)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return web.Response(body=generate_latest(registry), headers={"Content-Type": _TEXT})

    # --- figures ------------------------------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """Every figure at this moment, for ``prometheus_client``; those of the trail since this process began."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        self._state.read(self._count)
        decisions = CounterMetricFamily("juniper_decisions", "Answers of /token.", labels=("verdict", "reason"))
        events = CounterMetricFamily("juniper_events", "Records in the trail, decisions too.", labels=("event",))
        totals: dict[str, int] = {}
        for (event, verdict, reason), number in self._counted.items():
            totals[event] = totals.get(event, 0) + number
            if event == "decision":
                decisions.add_metric((verdict, reason), number)
        for event, number in totals.items():
            events.add_metric((event,), number)
        yield from (decisions, events)
        unverified = "Requests that nobody could verify."
        yield CounterMetricFamily("juniper_unverified_requests", unverified, value=self._standing.unverified)
        policy = self._in_force.policy
        about = {"version": __version__, "policy": policy.digest}
        yield InfoMetricFamily("juniper_issuer", "The release, and the policy in force.", value=about)
        for name, text, value in self._gauges():
            yield GaugeMetricFamily(name, text, value=value)

    def _gauges(self) -> Iterator[tuple[str, str, float]]:
        open_sessions, orders = self._state.read(_standing)
        yield "juniper_start_time_seconds", "When this process began, in unix seconds.", self._started_at
        yield "juniper_ready", "Whether it could issue anything.", float(not self.problems())
        yield "juniper_scopes", "Scopes of the policy in force.", len(self._in_force.policy.scopes)
        yield "juniper_blind_projects", "Projects that the reader token sees too little of.", len(self._in_force.blind)
        yield "juniper_open_sessions", "Debugging sessions that are open.", open_sessions
        yield "juniper_orders_ending", "Deploy tokens whose end the minter has not confirmed.", orders
        yield "juniper_trail_records", "Records in the trail.", self._seq
        if self._standing.proven_at is not None:
            text = "When the reader token was last proven to see enough, in unix seconds."
            yield "juniper_reader_proven_time_seconds", text, self._standing.proven_at
        if self._standing.reader_ends is not None:
            text = "The day the reader token ends on, in unix seconds."
            yield "juniper_reader_token_end_time_seconds", text, self._standing.reader_ends

    def _count(self, connection: sqlite3.Connection) -> None:
        """Add what the trail has grown by."""
        for event, verdict, reason, number, last in connection.execute(
            _COUNTS, (self._seq, self._seq + AT_ONCE)
        ).fetchall():
            key = (str(event), str(verdict or ""), str(reason or ""))
            self._counted[key] = self._counted.get(key, 0) + number
            self._seq = max(self._seq, last)


def _standing(connection: sqlite3.Connection) -> tuple[int, int]:
    (sessions,) = connection.execute("SELECT count(*) FROM sessions WHERE ended_at IS NULL").fetchone()
    (orders,) = connection.execute("SELECT count(*) FROM orders WHERE state = 'ending'").fetchone()
    return int(sessions), int(orders)
