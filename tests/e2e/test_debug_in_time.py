"""What the agent tells whoever is in a debugging session, as its time passes; and who hangs up takes it along."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from juniperd import wire
from juniperd.sessions import Sessions
from tests.agent.harness import until

from .whole import Answer, Whole

pytestmark = pytest.mark.e2e
ASKED = {"project": "shop/billing", "environment": "staging", "seconds": 3600, "reason": "invoices stuck"}


class Stream:
    """The events of one session, as ``juniper debug`` hears them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._decoder = wire.Decoder()
        self._text = b""
        self._events: list[dict[str, Any]] = []
        self.writer = writer

    async def next(self) -> dict[str, Any]:
        """The next event."""
        async with asyncio.timeout(20):
            while not self._events:
                for frame in self._decoder.feed(await self._reader.read(65536)):
                    assert frame.kind in "ox", frame
                    *lines, self._text = (self._text + (frame.payload if frame.kind == "o" else b"")).split(b"\n")
                    self._events += [json.loads(line) for line in lines if line]
        return self._events.pop(0)


@asynccontextmanager
async def debugging(inside: Whole, **changes: object) -> AsyncIterator[tuple[Stream, dict[str, Any]]]:
    """A session with whoever asked for it."""
    reader, writer = await asyncio.open_unix_connection(inside.socket)
    words = (b"juniper", b"debug", json.dumps(ASKED | changes).encode())
    writer.write(wire.encode_request(wire.Request(words)))
    stream = Stream(reader, writer)
    try:
        yield stream, await stream.next()
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def passes(inside: Whole, seconds: float) -> None:
    """Let time pass, and have those who wait look at the clock, as they do every half minute."""
    inside.clock.pass_by(seconds)
    sessions = inside.agent._sessions
    assert sessions is not None
    for listener in sessions:
        listener.changed.set()


def lies(path: object) -> bool:
    return os.path.lexists(str(path))


def ends_of(inside: Whole) -> list[object]:
    return [record["cause"] for record in inside.events("session_ended")]


async def test_it_is_told_at_five_minutes_and_at_one_and_at_the_end(inside: Whole) -> None:
    async with debugging(inside) as (stream, opened):
        folder = opened["folder"]
        assert (opened["event"], opened["project"], lies(folder)) == ("opened", "shop/billing", True)
        assert [row["scope"] for row in opened["refused"]] == ["billing-release-publisher"]
        passes(inside, 3299)
        passes(inside, 2)
        assert 290 < (await stream.next())["seconds"] < 300
        passes(inside, 240)
        assert 50 < (await stream.next())["seconds"] < 60
        passes(inside, 60)
        said = await stream.next()
        assert (said["event"], said["cause"]) == ("result", "its time is over")
        assert not lies(folder)


async def test_who_extends_is_told_of_the_new_end_and_warned_before_that(inside: Whole) -> None:
    async with debugging(inside, seconds=900) as (stream, opened):
        passes(inside, 700)
        assert (await stream.next())["event"] == "left"
        await inside.control("session_extend", session=opened["id"], seconds=1800)
        moved = await stream.next()
        assert (moved["event"], moved["ends_at"] > opened["ends_at"]) == ("moved", True)
        passes(inside, 1750)
        assert 240 < (await stream.next())["seconds"] <= 250


async def test_a_short_session_is_not_warned_of_what_it_never_had(inside: Whole) -> None:
    async with debugging(inside, seconds=120) as (stream, _opened):
        passes(inside, 70)
        assert 40 < (await stream.next())["seconds"] <= 50


async def test_who_hangs_up_takes_the_session_along_here_and_at_the_issuer(inside: Whole) -> None:
    async with debugging(inside) as (_stream, opened):
        folder = opened["folder"]
    await until(lambda: ends_of(inside) == ["closed"])
    assert not lies(folder)
    assert not lies(opened["socket"])


async def test_who_hangs_up_while_it_is_opened_leaves_none_behind(inside: Whole) -> None:
    inside.drill("gitlab", "slow", "200")
    _reader, writer = await asyncio.open_unix_connection(inside.socket)
    writer.write(wire.encode_request(wire.Request((b"juniper", b"debug", json.dumps(ASKED).encode()))))
    await until(lambda: inside.agent._server is not None and inside.agent._server.occupied)
    await asyncio.sleep(0.05)
    writer.close()
    await until(lambda: ends_of(inside) == ["closed"], within=10)
    assert list(inside.socket.parent.glob("session-*")) == []


async def test_a_terminal_that_closes_in_the_middle_of_the_end_does_not_undo_it(inside: Whole) -> None:
    async with debugging(inside) as (_stream, opened):
        _reader, writer = await asyncio.open_unix_connection(inside.socket)
        asked = json.dumps({"session": opened["id"]}).encode()
        writer.write(wire.encode_request(wire.Request((b"juniper", b"session_close", asked))))
        await until(lambda: not lies(opened["socket"]))
        writer.close()
    await until(lambda: ends_of(inside) == ["closed"])


async def test_a_folder_that_a_killed_agent_left_is_swept_at_the_next_start(inside: Whole) -> None:
    left = inside.socket.parent / "session-0123456789ab.d"
    left.mkdir()
    (left / "ends").write_text("0")
    Sessions(inside.socket.parent, None, inside.agent.broker, clock=inside.clock)  # type: ignore[arg-type]  # serves none
    assert not left.exists()


async def test_a_folder_that_cannot_be_made_leaves_no_socket_and_no_session(
    inside: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr("pathlib.Path.mkdir", full)
        said = await inside.control("debug", **ASKED)
    assert (said.status, "cannot be made (No space left on device)" in said.line) == (73, True), said
    assert [path.name for path in inside.socket.parent.glob("session-*")] == []
    assert ends_of(inside) == ["closed"]


async def test_an_agent_that_stops_while_a_session_is_opened_leaves_none_behind(inside: Whole) -> None:
    inside.drill("gitlab", "slow", "200")
    asked = asyncio.create_task(inside.control("debug", **ASKED))
    await until(lambda: inside.agent._server is not None and inside.agent._server.occupied)
    await asyncio.sleep(0.05)
    await inside.agent.end()
    said = await asked
    assert (
        "the agent ended while the session was opened; run: juniper session open shop/billing --env staging"
        in said.line
    )
    assert ends_of(inside) == ["closed"]
    assert list(inside.socket.parent.glob("session-*")) == []


async def test_an_agent_that_stops_when_nobody_waits_for_the_session_any_more_leaves_none_behind(inside: Whole) -> None:
    inside.drill("gitlab", "slow", "200")
    _reader, writer = await asyncio.open_unix_connection(inside.socket)
    writer.write(wire.encode_request(wire.Request((b"juniper", b"debug", json.dumps(ASKED).encode()))))
    await until(lambda: inside.agent._server is not None and inside.agent._server.occupied)
    await asyncio.sleep(0.05)
    writer.close()
    await until(lambda: inside.agent._server is not None and not inside.agent._server.occupied)
    inside.agent.stop.set()
    await until(lambda: not inside.agent.http._sessions)
    assert ends_of(inside) == ["closed"]


async def test_what_a_tool_writes_after_the_end_is_swept_when_the_next_session_begins(inside: Whole) -> None:
    async with debugging(inside) as (_stream, opened):
        folder = Path(str(opened["folder"]))
    await until(lambda: not lies(opened["socket"]))
    (folder / "docker").mkdir(parents=True)  # as `docker login` does in a shell that outlives its session
    async with debugging(inside) as (_stream, one), debugging(inside) as (_other, two):
        assert (lies(folder), lies(one["folder"]), lies(two["folder"])) == (False, True, True)


class Held:
    """One call that has had its answer, and brings it when it is let go."""

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self._call = call
        self.answered, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, *words: object, **named: object) -> Any:
        answer = await self._call(*words, **named)
        self.answered.set()
        await self.go_on.wait()
        return answer


async def beginning(inside: Whole) -> tuple[Sessions, Held, asyncio.Task[Answer]]:
    """A session whose socket is there, and of which nobody has heard yet."""
    sessions = inside.agent._sessions
    assert sessions is not None
    held = Held(sessions._serve)
    sessions._serve = held
    asked = asyncio.create_task(inside.control("debug", **ASKED))
    await held.answered.wait()
    return sessions, held, asked


async def test_an_agent_that_ends_when_a_session_begins_to_answer_leaves_none_behind(inside: Whole) -> None:
    sessions, held, asked = await beginning(inside)
    await sessions.close()
    held.go_on.set()
    assert "the agent ended while the session was opened" in (await asyncio.wait_for(asked, 20)).line
    assert ends_of(inside) == ["closed"]
    assert list(inside.socket.parent.glob("session-*")) == []


async def test_who_locks_when_a_session_begins_to_answer_leaves_none_behind(inside: Whole) -> None:
    _sessions, held, asked = await beginning(inside)
    await inside.control("lock")
    held.go_on.set()
    assert "the sign-in was locked or changed while the session was opened" in (await asyncio.wait_for(asked, 20)).line
    assert ends_of(inside) == ["closed"]
    assert list(inside.socket.parent.glob("session-*")) == []


async def test_a_session_that_ends_while_it_is_extended_is_over_at_the_issuer_too(inside: Whole) -> None:
    async with debugging(inside, seconds=900) as (stream, opened):
        (desk,) = inside.agent.desks.values()
        held = Held(desk.issuer.extend_session)
        desk.issuer.extend_session = held  # type: ignore[method-assign]
        asked = asyncio.create_task(inside.control("session_extend", session=opened["id"], seconds=3600))
        await held.answered.wait()
        passes(inside, 901)
        while (said := await stream.next())["event"] != "result":
            pass
        assert said["cause"] == "its time is over"
        held.go_on.set()
        over = await asked
        assert (over.status, "the session ended while it was extended" in over.line) == (77, True), over
    assert ends_of(inside) == ["closed"]


async def test_who_hangs_up_while_it_is_extended_does_not_undo_it(inside: Whole) -> None:
    async with debugging(inside, seconds=900) as (stream, opened):
        (desk,) = inside.agent.desks.values()
        held = Held(desk.issuer.extend_session)
        desk.issuer.extend_session = held  # type: ignore[method-assign]
        _reader, writer = await asyncio.open_unix_connection(inside.socket)
        asked = json.dumps({"session": opened["id"], "seconds": 3600}).encode()
        writer.write(wire.encode_request(wire.Request((b"juniper", b"session_extend", asked))))
        await held.answered.wait()
        server = inside.agent._server
        assert server is not None
        inside_now = len(server._connections)
        writer.close()
        await until(lambda: len(server._connections) < inside_now)
        held.go_on.set()
        while (said := await stream.next())["event"] != "moved":
            pass
        assert said["ends_at"] > opened["ends_at"]
