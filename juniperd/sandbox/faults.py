"""Faults that a drill switches on: a double that is slow, broken, rate-limited, or forgets a page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.typedefs import Middleware

# Where a request carries the first page that its answer must hide.
HIDE_PAGES_FROM = web.RequestKey("hide_pages_from", int)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to requests whose path matches: first the delay, then the status, else the true answer."""

    path: str = "*"
    delay: float = 0.0
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    content_type: str = "application/json"
    hide_pages_from: int | None = None


@dataclass(slots=True)
class Faults:
    """The faults in force, and the middleware that applies them; the last added one that matches wins."""

    sleep: Sleep = asyncio.sleep
    rows: list[Fault] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        """Put a fault in force. Slow and broken add up for one path; otherwise the newer one holds."""
        earlier = next((row for row in self.rows if row.path == fault.path), None)
        self.rows = [row for row in self.rows if row.path != fault.path]
        if earlier is not None and not fault.delay:
            fault = replace(fault, delay=earlier.delay)
        elif earlier is not None and fault.status is None and fault.hide_pages_from is None:
            fault = replace(earlier, delay=fault.delay)
        self.rows.append(fault)

    def heal(self) -> None:
        """Back to normal."""
        self.rows = []

    def matching(self, path: str) -> Fault | None:
        """The fault that applies to this path."""
        return next((row for row in reversed(self.rows) if fnmatchcase(path, row.path)), None)

    @property
    def middleware(self) -> Middleware:
        """For `web.Application(middlewares=[…])`."""

        @web.middleware
        async def faulty(request: web.Request, handler: Handler) -> web.StreamResponse:
            fault = self.matching(request.path)
            if fault is None:
                return await handler(request)
            if fault.delay:
                # Servers take a request in whole, and act on it even where its caller has gone meanwhile.
                await request.read()
                await self.sleep(fault.delay)
            if fault.status is not None:
                return web.Response(
                    status=fault.status, headers=dict(fault.headers), text=fault.body, content_type=fault.content_type
                )
            if fault.hide_pages_from is not None:
                request[HIDE_PAGES_FROM] = fault.hide_pages_from
            return await handler(request)

        return faulty
