"""Many callers at once at the agent's socket, from one process that does as little as it can."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from typing import cast

from juniperd import wire

REQUEST = wire.encode_request(wire.Request((b"juniper-aws", b"--scope", b"invoice-archive-writer")))


def call(path: str, *, times: int, at_once: int, request: bytes = REQUEST) -> Sequence[float]:
    """Ask ``times`` times with ``at_once`` connections open; the seconds each call took, in the order they ended."""
    waiting: dict[socket.socket, tuple[float, bytearray]] = {}
    took: list[float] = []
    with selectors.DefaultSelector() as selector:
        started = 0
        while len(took) < times:
            while started < times and len(waiting) < at_once:
                connection = _ask(path, request)
                selector.register(connection, selectors.EVENT_READ)
                waiting[connection] = (time.perf_counter(), bytearray())
                started += 1
            for key, _ in selector.select(timeout=20):
                connection = cast("socket.socket", key.fileobj)
                begun, answer = waiting[connection]
                if data := connection.recv(65536):
                    answer += data
                    continue
                took.append(time.perf_counter() - begun)
                selector.unregister(connection)
                connection.close()
                del waiting[connection]
                _check(bytes(answer))
    return took


def _ask(path: str, request: bytes) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    connection.sendall(request)
    return connection


def _check(answer: bytes) -> None:
    frames = list(wire.Decoder().feed(answer))
    if not frames or frames[-1] != wire.Frame("x", b"\0"):
        msg = f"a call failed: {frames}"
        raise RuntimeError(msg)
