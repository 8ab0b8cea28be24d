"""Serving an aiohttp application on a free loopback port."""

from __future__ import annotations

import secrets
import socket
import ssl
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web


def free_socket(port: int = 0) -> socket.socket:
    """A TCP socket that listens on 127.0.0.1; port 0 lets the kernel choose."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(512)
    listener.setblocking(False)  # noqa: FBT003  # the standard library takes it by position alone
    return listener


def free_ports(count: int) -> list[int]:
    """Ports that are free now, for a child process that will listen by itself.

    Below the range from which the kernel takes ports for outgoing connections (ip(7), `ip_local_port_range`), so
    that none of those takes one before the child does.
    """
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                probe.bind(("127.0.0.1", 20_000 + secrets.randbelow(12_000)))
            except OSError:
                probe.close()
            else:
                held.append(probe)
        return [probe.getsockname()[1] for probe in held]
    finally:
        for probe in held:
            probe.close()


@dataclass(slots=True)
class Listening:
    """One application on one loopback port, from `start` to `stop`; also an async context manager.

    The port is known before the application is made, because most of them print their own address. A secure one
    is given its `tls` before it starts, since a certificate may be made after the address is known.
    """

    listener: socket.socket
    secure: bool = False
    tls: ssl.SSLContext | None = None
    runner: web.AppRunner | None = None
    port: int = field(init=False)

    def __post_init__(self) -> None:
        self.port = self.listener.getsockname()[1]

    @classmethod
    def reserve(cls, port: int = 0, *, secure: bool = False) -> Listening:
        """Take a port now and serve on it later; `secure` means TLS alone."""
        return cls(free_socket(port), secure=secure)

    @classmethod
    def with_tls(cls, tls: ssl.SSLContext) -> Listening:
        """The same, to be served with this certificate."""
        made = cls.reserve(secure=True)
        made.tls = tls
        return made

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, or https where it is secure, without a slash at the end."""
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.port}"

    async def start(self, app: web.Application) -> None:
        """Serve the application; `ValueError` for a secure address that was given no `tls`."""
        if self.secure != (self.tls is not None):
            # Served in the clear, a token would have left its client before anybody noticed.
            raise ValueError(f"{self.url} is to be served {'with' if self.secure else 'without'} TLS")
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self.runner.setup()
        await web.SockSite(self.runner, self.listener, ssl_context=self.tls).start()

    async def stop(self) -> None:
        """Stop serving and close the port."""
        if self.runner is not None:
            await self.runner.cleanup()
        self.listener.close()


class Double:
    """What every double has: an address, and a life as an async context manager."""

    listening: Listening

    def app(self) -> web.Application:
        """The routes of this double."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """Where it serves."""
        return self.listening.url

    async def __aenter__(self) -> Self:
        await self.listening.start(self.app())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.listening.stop()
