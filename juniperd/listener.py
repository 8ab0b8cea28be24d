"""A listener that slow or many connections do not silence: bounded in number, and in time at every step.

A connection must shake hands, send a whole head and then its body within seconds; in between it may idle as long as
HTTP keeps it alive. Each listener has a number of its own, so that a full one takes nothing from the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from juniperd.errors import ConfigError
from juniperd.settings import Listen

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HANDSHAKE = 5.0
HEAD = 8.0
BODY = 5.0
KEEPALIVE = 75.0
_LONGEST_REQUEST = 120.0
"""Seconds an answer may take; GitLab's and the identity provider's own limits come long before."""
_GRACE = 10.0
_SHUTDOWN = 5.0
_LINGER = 2.0
MAX_HEADER = 20 * 1024
"""Bytes of one header: an ID token stands in ``Authorization``."""
_OPEN_FILES = 16_384
_RESERVED_FILES = 200
"""Descriptors for the data base, for GitLab and the identity provider, and for administrators."""
_MOST = 4096
_OUT_OF_FILES = 0.2
LINES = web.AppKey("lines", dict)


def most_connections() -> int:
    """How many connections this process can bear, its limit on open files raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    files = _OPEN_FILES if soft == resource.RLIM_INFINITY else soft
    return min(_MOST, max(files - _RESERVED_FILES, files // 2))


@web.middleware
async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Have the whole body here in time, and tell the connection's clock when a request begins and ends."""
    line = request.config_dict.get(LINES, {}).get(request.protocol)
    if line is not None:
        line.limit(_LONGEST_REQUEST)
    try:
        await _have_body(request)
        return await handler(request)
    finally:
        if line is not None:
            line.limit(KEEPALIVE + _GRACE, idle=True)


async def _have_body(request: web.Request) -> None:
    if not request.can_read_body:
        return
    try:
        async with asyncio.timeout(BODY):
            await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason="the body did not come in time") from None
    except web.RequestPayloadError:
        raise web.HTTPBadRequest(reason="the body is not as its headers say") from None


class _Line(asyncio.Protocol):
    """One connection: aiohttp's protocol, and the clock that ends it; at any time one limit runs."""

    def __init__(self, inner: asyncio.Protocol, lines: dict[object, _Line], ended: Callable[[], None]) -> None:
        self._inner = inner
        self._lines = lines
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle = False

    def limit(self, seconds: float, *, idle: bool = False) -> None:
        """End the connection in so many seconds unless something else begins."""
        self._idle = idle
        if self._timer is not None:
            self._timer.cancel()
        transport = self._transport
        if transport is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, transport.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._lines[self._inner] = self
        self.limit(HEAD)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._idle:
            self.limit(HEAD)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._lines.pop(self._inner, None)
        self._inner.connection_lost(exc)
        self._ended()


class Listener:
    """Accepts for one application; ``most`` in all and ``most_each`` per address, the rest is turned away at once."""

    def __init__(
        self, runner: web.AppRunner, *, tls: ssl.SSLContext | None, most: int, most_each: int | None = None
    ) -> None:
        self._runner = runner
        self._tls = tls
        self._most = most
        self._most_each = most if most_each is None else most_each
        self._lines: dict[object, _Line] = runner.app[LINES]
        self._by_address: Counter[str] = Counter()
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._greeting: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; the port, which is another than asked for where that was 0. An ``OSError`` is the caller's."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in dict.fromkeys(found):
            self._sockets.append(_bound(family, address))
        self._accepting = [asyncio.create_task(self._accept(s)) for s in self._sockets]
        return int(self._sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Take no more connections; those there are belong to the runner."""
        for task in (*self._accepting, *self._greeting):
            task.cancel()
        await asyncio.gather(*self._accepting, *self._greeting, return_exceptions=True)
        for listening in self._sockets:
            listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError:  # out of descriptors, or a peer that left: neither ends the listener
                await asyncio.sleep(_OUT_OF_FILES)
                continue
            peer = str(address[0])
            if self._by_address.total() >= self._most or self._by_address[peer] >= self._most_each:
                connection.close()
                continue
            self._by_address[peer] += 1
            task = asyncio.create_task(self._greet(connection, peer))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket, peer: str) -> None:
        """Shake hands in time and hand the connection on; its place is free again once it is closed."""
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._by_address[peer] -= 1
                if not self._by_address[peer]:
                    del self._by_address[peer]

        def make() -> _Line:
            server = self._runner.server
            assert server is not None, "the runner is set up before it is listened for"  # noqa: S101  # by this program alone
            return _Line(server(), self._lines, leave)

        limits = {} if self._tls is None else {"ssl_handshake_timeout": HANDSHAKE, "ssl_shutdown_timeout": HANDSHAKE}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(make, connection, ssl=self._tls, **limits)
        except (OSError, ssl.SSLError, asyncio.CancelledError):
            connection.close()
            leave()


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setblocking(False)  # noqa: FBT003  # the socket's own method
        listening.bind(address)
        listening.listen(512)
    except OSError:
        listening.close()
        raise
    return listening


async def listening(
    stack: AsyncExitStack,
    app: web.Application,
    listen: Listen,
    *,
    tls: ssl.SSLContext | None,
    most: int,
    most_each: int | None = None,
) -> Listen:
    """Serve the application until the stack unwinds; where it listens, with the port that it got."""
    listener = Listener(await _runner(stack, app), tls=tls, most=most, most_each=most_each)
    stack.push_async_callback(listener.close)
    try:
        port = await listener.start(listen.host, listen.port)
    except OSError as error:
        msg = f"cannot listen on {listen} ({error.strerror})"
        raise ConfigError(msg, "name another port in the configuration, or stop who has it") from None
    return Listen(listen.host, port)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a failure is none of a stranger's, who could fill the log with what is no HTTP at all."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


async def _runner(stack: AsyncExitStack, app: web.Application) -> web.AppRunner:
    app[LINES] = {}
    logging.getLogger("aiohttp.server").addFilter(_is_ours)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_SHUTDOWN,
        keepalive_timeout=KEEPALIVE,
        lingering_time=_LINGER,
        max_field_size=MAX_HEADER,
        max_line_size=MAX_HEADER,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner
