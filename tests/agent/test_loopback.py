"""The address a browser comes back to: what is let in, what is turned away, and that nothing of it is shown."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd import loopback
from juniperd.loopback import Loopback, Page

from .harness import until

STATE = "s" * 43


@pytest.fixture
async def door() -> AsyncIterator[Loopback]:
    async with Loopback(STATE) as made:
        yield made


def port_of(door: Loopback) -> int:
    return int(door.address.split(":")[2].split("/")[0])


async def say(door: Loopback, data: bytes) -> bytes:
    """These bytes; everything that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(door))
    try:
        writer.write(data)
        return await reader.read()
    finally:
        writer.close()


def request(door: Loopback, target: str, *, method: str = "GET", host: str | None = None, more: str = "") -> bytes:
    host = host or f"127.0.0.1:{port_of(door)}"
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_what_came_is_handed_over_and_waits_for_its_answer(door: Loopback) -> None:
    asking = asyncio.create_task(say(door, request(door, f"/callback?code=c%20d&state={STATE}&iss=i")))
    assert await door.came(5) == {"code": "c d", "state": STATE, "iss": "i"}
    assert not asking.done()
    door.answer(Page.SIGNED_IN)
    door.answer(Page.FAILED)
    answer = await asking
    assert (status(answer), b"You are signed in" in answer, b"Not signed in" in answer) == (200, True, False)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/callback", 400),
        ("/callback?state=" + "x" * 43, 400),
        ("/callback?state=" + "\N{KELVIN SIGN}", 400),
        (f"/callback?state={STATE}&state={STATE}", 400),
        (f"/callback?state={STATE}&code=a&code=b", 400),
        (f"/callback?state={STATE}&" + "&".join(f"p{n}=1" for n in range(30)), 400),
        (f"/callback?state={STATE}%ff", 400),
        (f"/?state={STATE}", 404),
        (f"/callback/?state={STATE}", 404),
        (f"/Callback?state={STATE}", 404),
        (f"//callback?state={STATE}", 404),
        (f"/x/../callback?state={STATE}", 404),
        (f"/%63allback?state={STATE}", 404),
        (f"http://127.0.0.1/callback?state={STATE}", 400),
        ("/favicon.ico", 404),
    ],
)
async def test_anything_else_is_turned_away_and_changes_nothing(door: Loopback, target: str, expected: int) -> None:
    assert status(await say(door, request(door, target))) == expected
    assert await door.came(0.01) is None


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS", "get"])
async def test_only_get(door: Loopback, method: str) -> None:
    answer = await say(door, request(door, f"/callback?state={STATE}&code=c", method=method))
    assert status(answer) == 405
    assert b"\r\nAllow: GET\r\n" in answer
    assert await door.came(0.01) is None


@pytest.mark.parametrize("host", ["evil.test", "localhost:{}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{}.evil.test"])
async def test_only_our_own_name(door: Loopback, host: str) -> None:
    """A page that rebinds its own name to 127.0.0.1 still says that name."""
    asked = request(door, f"/callback?state={STATE}&code=c", host=host.format(port_of(door)))
    assert status(await say(door, asked)) == 400
    assert await door.came(0.01) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"GET /callback\r\n\r\n",
        b"GET /callback?state=" + STATE.encode() + b" HTTP/1.1\r\n\r\n",
        b"GET /callback?state=" + STATE.encode() + b" HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_what_is_no_request_of_http(door: Loopback, data: bytes) -> None:
    assert status(await say(door, data)) == 400


@given(
    st.binary(max_size=300) | st.builds(lambda q: b"GET /callback?" + q + b" HTTP/1.1\r\nHost: h\r\n\r\n", st.binary())
)
def test_no_bytes_are_a_surprise(data: bytes) -> None:
    asked = loopback.Asked.read(data)
    assert asked is None or (asked.host.isascii() and all(isinstance(v, str) for v in asked.parameters.values()))


async def test_an_endless_head_is_cut_off(door: Loopback) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(door))
    writer.write(b"GET /callback HTTP/1.1\r\n" + b"X: " + b"y" * 40_000)
    with pytest.raises((ConnectionError, EOFError)):
        await reader.readexactly(1)
    writer.close()


async def test_a_silent_caller_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "HEAD_TIME", 0.02)
    async with Loopback(STATE) as door:
        assert await say(door, b"GET /callback") == b""


async def test_there_are_only_so_many_callers_at_once(door: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "MOST_CALLERS", 1)
    _reader, idle = await asyncio.open_connection("127.0.0.1", port_of(door))
    await until(lambda: door._callers)
    assert await say(door, b"") == b""
    idle.close()


async def test_nobody_but_this_machine_can_knock(door: Loopback) -> None:
    assert door._server is not None
    assert [s.getsockname()[0] for s in door._server.sockets] == ["127.0.0.1"]


async def test_who_still_waits_at_the_end_is_told() -> None:
    async with Loopback(STATE) as door:
        asking = asyncio.create_task(say(door, request(door, f"/callback?code=c&state={STATE}")))
        await door.came(5)
    assert b"cut off" in await asking


@pytest.mark.parametrize("page", Page)
def test_a_page_is_fixed_kept_nowhere_and_runs_nothing(page: Page) -> None:
    head, _blank, body = page.response().partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert (fields["Connection"], fields["Cache-Control"]) == ("close", "no-store")
    assert (fields["Referrer-Policy"], fields["Content-Length"]) == ("no-referrer", str(len(body)))
    assert fields["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert b"<script" not in body
    assert not re.search(rb"https?://", body)
    assert b"prefers-color-scheme:dark" in body
