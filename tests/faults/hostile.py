"""A door in front of each upstream, behind which the real double answers until the door is told to fail."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from juniperd.sandbox.addresses import Addresses
from juniperd.sandbox.files import CERTIFICATE, CERTIFICATE_KEY
from juniperd.sandbox.folder import Folder
from juniperd.sandbox.listening import Listening, free_socket
from juniperd.sandbox.tls import certificates

if TYPE_CHECKING:
    from aiohttp import web

ENDLESS = 1 << 30
"""Bytes of the longest body; nobody here ever holds more than a piece of it."""
PIECE = b" " * 65_536


class Fault(StrEnum):
    """What a door does instead of letting through."""

    DOWN = "refuses connections"
    SLOW = "holds its answer"
    GARBAGE = "answers garbage"
    WRONG = "answers what has the wrong shape"
    ENDLESS = "answers 1 GiB"
    REDIRECT = "redirects"
    CUT = "ends its answer half way"
    RESET = "resets the connection half way"
    UNTRUSTED = "shows a certificate that nobody trusts"


JSON_OF_WRONG_SHAPE = json.dumps(
    {"issuer": [], "jwks_uri": {}, "keys": 1, "version": [], "access_token": 7, "id_token": [], "error": {}, "id": "x"}
)


@dataclass(slots=True)
class Door:
    """One TLS address; ``sent`` counts what an endless answer got rid of, ``held`` the answers that wait."""

    hidden: int
    listener: socket.socket
    wrong: bytes = JSON_OF_WRONG_SHAPE.encode()
    good: ssl.SSLContext | None = None
    bad: ssl.SSLContext | None = None
    elsewhere: str = ""
    fault: Fault | None = None
    asked: int = 0
    sent: int = 0
    held: int = 0
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _live: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    async def open(self) -> None:
        """Answer from here on."""
        tls = self.bad if self.fault is Fault.UNTRUSTED else self.good
        self._server = await asyncio.start_server(self._serve, sock=self.listener, ssl=tls, ssl_shutdown_timeout=0.1)

    async def turn(self, fault: Fault | None) -> None:
        """From now on this fault, or none; connections made before are gone, as with a server that fell over."""
        self.let_go.set()
        self.let_go = asyncio.Event()
        self.fault, self.asked, self.sent, self.held = fault, 0, 0, 0
        port = self.port
        self.shut()
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))  # bound and deaf: the address stays ours, and refuses
        if fault is not Fault.DOWN:
            await self.open()

    def shut(self) -> None:
        """Let go of the address and of everybody."""
        for writer in list(self._live):
            writer.transport.abort()
        if self._server is not None:
            self._server.close()
            self._server = None
        self.listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._live.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            await (self._pass(reader, writer) if self.fault is None else self._fail(reader, writer))
        self._live.discard(writer)
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Everything through, both ways."""
        answers, questions = await asyncio.open_connection("127.0.0.1", self.hidden)
        back = asyncio.create_task(_pump(answers, writer))
        await _pump(reader, questions)
        questions.close()
        await back

    async def _fail(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, and what this fault makes of its answer."""
        request = await _whole(reader)
        self.asked += 1
        match self.fault:
            case Fault.GARBAGE:
                writer.write(_answer(b"\xff\xfe<html>we will be back</html", "text/html"))
            case Fault.WRONG:
                writer.write(_answer(self.wrong, "application/json"))
            case Fault.REDIRECT:
                writer.write(_answer(b"", "text/plain", "301 Moved", f"Location: {self.elsewhere}/\r\n"))
            case Fault.ENDLESS:
                await self._pour(writer)
            case Fault.SLOW:
                answer = await self._true_answer(request)
                self.held += 1
                await self.let_go.wait()
                writer.write(answer)
            case Fault.CUT | Fault.RESET:
                await self._half(writer, await self._true_answer(request))
        await writer.drain()

    async def _pour(self, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {ENDLESS}\r\n\r\n".encode())
        while self.sent < ENDLESS and not writer.is_closing():
            writer.write(PIECE)
            await writer.drain()
            await asyncio.sleep(0)  # a drain that need not wait does not hear of the end either
            self.sent += len(PIECE)

    async def _half(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        """Head and half of the body; of an answer without a body half of the head."""
        head, _, body = answer.partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n" + body[: len(body) // 2] if body else head[: len(head) // 2])
        await writer.drain()
        if self.fault is Fault.RESET:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _true_answer(self, request: bytes) -> bytes:
        """What the double says: it has acted upon the request, whatever becomes of its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.hidden)
        writer.write(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        answer = await reader.read(-1)
        writer.close()
        return answer


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _whole(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line.partition(b":") for line in head.split(b"\r\n")]
    length = next((int(value) for name, _, value in lines if name.lower() == b"content-length"), 0)
    return head + await reader.readexactly(length)


def _answer(body: bytes, kind: str, status: str = "200 OK", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


class Behind(Listening):
    """A double's address, which is the door's; the double itself serves out of sight."""

    __slots__ = ("door",)

    def __init__(self) -> None:
        front, hidden = free_socket(), free_socket()
        self.listener, self.runner, self.secure, self.tls = hidden, None, False, None
        self.port = front.getsockname()[1]
        self.door = Door(hidden.getsockname()[1], front)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def start(self, app: web.Application) -> None:
        await super().start(app)
        await self.door.open()

    async def stop(self) -> None:
        self.door.shut()
        await super().stop()


class Doors:
    """The doors of a company, by the upstream behind them; the issuer has one for each listener."""

    def __init__(self) -> None:
        self.of: dict[str, list[Door]] = {}
        self.strays = 0
        """Requests that followed a redirect."""

    def reserve(self, upstream: str) -> Behind:
        """An address for this double."""
        made = Behind()
        self.of[upstream] = [made.door]
        return made

    async def turn(self, upstream: str, fault: Fault | None) -> None:
        """All doors of one upstream."""
        for door in self.of[upstream]:
            await door.turn(fault)

    async def heal(self) -> None:
        """Every upstream as always."""
        for upstream, doors in self.of.items():
            if any(door.fault is not None for door in doors):
                await self.turn(upstream, None)

    @asynccontextmanager
    async def standing(self, folder: Folder, at: Addresses) -> AsyncIterator[None]:
        """With certificates from the folder, and the issuer behind doors of its own."""
        self.of["issuer"] = [self._before(folder, url) for url in (at.issuer, at.issuer_api)]
        path = folder / "issuer.toml"
        kept = [line for line in path.read_text().splitlines() if not line.startswith("tls_")]
        path.write_text("\n".join(kept))

        async def stray(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.strays += 1
            writer.close()

        good, bad = _context(folder / CERTIFICATE, folder / CERTIFICATE_KEY), _stranger(folder)
        other = await asyncio.start_server(stray, "127.0.0.1", 0)
        for door in (door for doors in self.of.values() for door in doors):
            door.good, door.bad = good, bad
            door.elsewhere = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}"
        for door in self.of["issuer"]:
            await door.open()
        try:
            yield
        finally:
            other.close()
            for door in self.of["issuer"]:
                door.shut()

    def _before(self, folder: Folder, url: str) -> Door:
        """The configuration listens where nobody looks; the door has the address that everybody is told."""
        port = int(url.rpartition(":")[2])
        with free_socket() as taken:
            hidden = int(taken.getsockname()[1])
        path = folder / "issuer.toml"
        path.write_text(path.read_text().replace(f'listen = "127.0.0.1:{port}"', f'listen = "127.0.0.1:{hidden}"'))
        return Door(hidden, free_socket(port))


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _stranger(folder: Folder) -> ssl.SSLContext:
    """A certificate of an authority that nobody here has heard of."""
    made = certificates()
    folder.write("tls/stranger.pem", made.server)
    folder.write("tls/stranger.key", made.server_key)
    return _context(folder / "tls/stranger.pem", folder / "tls/stranger.key")
