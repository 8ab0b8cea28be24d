"""The listener: slow and many connections end, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import resource
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from juniperd import listener as module
from juniperd.listener import LINES, Listener, most_connections, timed
from tests.issuer.doubles import Company, open_company
from tests.issuer.test_serve import certificate

WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HANDSHAKE", "HEAD", "BODY"):
        monkeypatch.setattr(module, name, 0.3)


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


@asynccontextmanager
async def listening(
    *, most: int = 10, most_each: int | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A listener before an application that answers everything; its port."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application(middlewares=[timed])
    app[LINES] = {}
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = Listener(runner, tls=tls, most=most, most_each=most_each)
    try:
        yield await listener.start("127.0.0.1", 0)
    finally:
        await listener.close()
        await runner.cleanup()


async def ask(ends: Ends) -> bytes:
    """The status line of an answer; nothing where the connection was closed."""
    reader, writer = ends
    async with asyncio.timeout(20):
        try:
            writer.write(WHOLE)
            line = await reader.readline()
            while line and (await reader.readline()).strip():
                pass
            return line and await reader.readexactly(2)
        except ConnectionError:
            return b""


async def ended(ends: Ends) -> bytes:
    """What was said until the connection ended, which it must within seconds."""
    reader, writer = ends
    async with asyncio.timeout(20):
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


@pytest.mark.parametrize("start", [b"", b"POST /token HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_never_ends_is_cut_off(company: Company, start: bytes) -> None:
    host, port = company.wire.removeprefix("http://").split(":")
    ends = await asyncio.open_connection(host, int(port))
    ends[1].write(start)
    assert await ended(ends) == b""


async def test_a_body_that_never_ends_is_cut_off(company: Company) -> None:
    host, port = company.wire.removeprefix("http://").split(":")
    ends = await asyncio.open_connection(host, int(port))
    ends[1].write(
        b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\na"
    )
    assert b" 408 " in (await ended(ends)).splitlines()[0]


async def test_a_second_head_that_never_ends_is_cut_off_and_an_idle_connection_is_not() -> None:
    async with listening() as port:
        slow, idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert await ask(slow) == await ask(idle) == b"ok"
        slow[1].write(b"GET / HT")
        assert await ended(slow) == b""
        assert await ask(idle) == b"ok"
        idle[1].close()


async def test_a_handshake_that_never_ends_is_cut_off(tmp_path: Path) -> None:
    certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "cert.key")
    async with listening(tls=tls, most=1) as port:
        assert await ended(await asyncio.open_connection("127.0.0.1", port)) == b""
        trust = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        served = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        assert await ask(served) == b"ok"
        served[1].close()


@pytest.mark.parametrize(("most", "most_each"), [(2, None), (10, 2)])
async def test_more_connections_than_there_may_be_are_turned_away(most: int, most_each: int | None) -> None:
    async with listening(most=most, most_each=most_each) as port:
        first, second, third = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        assert await ask(first) == await ask(second) == b"ok"
        assert await ended(third) == b""
        first[1].close()
        await first[1].wait_closed()
        fourth = await asyncio.open_connection("127.0.0.1", port)
        assert await ask(fourth) == b"ok"
        for ends in (second, fourth):
            ends[1].close()


def test_the_limit_on_open_files_is_raised_and_some_are_kept_back() -> None:
    most = most_connections()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 0 < most <= 4096
    assert most < soft or soft == resource.RLIM_INFINITY
