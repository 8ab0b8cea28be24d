"""The server at its socket: limits first, every breach answered with its cure, nobody able to hurt the others."""

from __future__ import annotations

import asyncio
import json
import struct

import pytest

from juniperd import wire
from juniperd.wire import Frame

from .harness import Running, Spoken, listen, speak, until


async def raw(running: Running, *pieces: bytes) -> Spoken:
    """Send these bytes, piece by piece, and listen."""
    reader, writer = await asyncio.open_unix_connection(running.path)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return await listen(reader)
    finally:
        writer.close()


async def test_an_old_helper_hears_the_cure(running: Running) -> None:
    answer = await raw(running, b"\x09" + wire.encode(Frame("a", b"juniper-aws")))
    assert answer.status == 76
    assert answer.stderr.startswith(b"juniper: the helper speaks frame version 9, this agent speaks 1; ")
    assert answer.stderr.endswith(b"then run: juniper down; juniper up\n")


async def test_a_helper_nobody_knows_hears_who_is_served(running: Running) -> None:
    answer = await speak(running.path, "juniper-teapot")
    assert answer.status == 76
    assert b"juniper-aws" in answer.stderr
    assert answer.stderr.endswith(b"reinstall the helper from the same release as juniperd\n")


@pytest.mark.parametrize(
    "pieces",
    [
        [b"\x01a" + struct.pack("!I", wire.MAX_PAYLOAD + 1)],
        [b"\x01" + wire.encode(Frame("a", b"x" * wire.MAX_PAYLOAD)) * 3],
        [b"\x01" + wire.encode(Frame("a")) * (wire.MAX_FRAMES + 1)],
        [b"\x01" + wire.encode(Frame("v", b"AWS_SECRET_ACCESS_KEY=x"))],
        [b"\x01" + wire.encode(Frame("i", b"stdin nobody asked for"))],
        [b"\x01" + wire.encode(Frame("g"))],
        [b"\x01" + b"Z" + struct.pack("!I", 0)],
    ],
)
async def test_what_breaks_the_frame_rules_is_answered_and_shut(running: Running, pieces: list[bytes]) -> None:
    answer = await raw(running, *pieces)
    assert answer.status == 76
    assert answer.stdout == b""
    assert answer.stderr.count(b"\n") == 1
    assert (await running.control("ping")).status == 0


async def test_a_request_in_single_bytes_is_a_request(running: Running) -> None:
    request = wire.encode_request(wire.Request((b"juniper", b"ping", b"{}")))
    answer = await raw(running, *(request[i : i + 1] for i in range(len(request))))
    assert answer.status == 0


async def test_bytes_after_the_request_are_ignored(running: Running) -> None:
    request = wire.encode_request(wire.Request((b"juniper", b"ping", b"{}")))
    assert (await raw(running, request + request)).status == 0


async def test_a_request_that_never_ends_is_shut(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("juniperd.server.REQUEST_TIME", 0.02)
    answer = await raw(running, b"\x01a")
    assert b"not complete" in answer.stderr


async def test_too_many_callers_are_turned_away_and_the_rest_served(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("juniperd.server.MAX_CONNECTIONS", 3)
    waiting = [await asyncio.open_unix_connection(running.path) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert (await running.control("ping")).status == 75
    for _reader, writer in waiting:
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.01)
    assert (await running.control("ping")).status == 0


async def test_callers_that_say_nothing_leave_no_trace(running: Running) -> None:
    for _ in range(5):
        _reader, writer = await asyncio.open_unix_connection(running.path)
        writer.close()
        await writer.wait_closed()
    assert (await running.control("ping")).status == 0


async def test_a_defect_answers_its_caller_and_spares_the_others(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running.login()

    async def broken(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("refresh-1")

    monkeypatch.setattr(running.agent.broker, "lease", broken)
    answer = await running.aws()
    assert answer.stderr.startswith(b"juniper-aws: juniperd failed inside (ZeroDivisionError)")
    assert b"refresh-1" not in answer.stderr
    assert "refresh-1" not in running.log.getvalue()
    assert (await running.control("ping")).status == 0


async def test_a_defect_while_a_request_is_read_answers_too(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("refresh-1")

    monkeypatch.setattr(running.agent.broker, "warm", broken)
    answer = await running.aws()
    assert answer.stderr.startswith(b"juniper-aws: juniperd failed inside (ZeroDivisionError)")
    assert "refresh-1" not in running.log.getvalue()
    assert (await running.control("ping")).status == 0


async def test_nothing_secret_is_in_log_or_status(running: Running) -> None:
    await running.login()
    answer = json.loads((await running.aws()).stdout)
    shown = running.log.getvalue() + json.dumps([(await running.control(v)).events for v in ("status", "whoami")])
    for secret in (answer["SecretAccessKey"], answer["SessionToken"], answer["AccessKeyId"], "refresh-1", "eyJ"):
        assert secret not in shown


async def test_the_program_that_asked_is_told_to_the_issuer_and_the_log(running: Running) -> None:
    await running.login()
    await running.aws()
    program = running.world.issuer.forms[-1]["claimed_program"]
    assert "python" in program
    assert program in running.log.getvalue()


async def test_draining_lets_those_inside_finish(running: Running) -> None:
    await running.login()
    asking = asyncio.create_task(running.aws())
    await until(lambda: len(running.agent.broker._flights) or asking.done())
    running.agent.stop.set()
    assert (await asking).status == 0
    assert not running.path.exists()


async def test_the_door_is_shut_before_down_is_answered(running: Running) -> None:
    answer = await running.control("down")
    assert answer.status == 0
    assert not running.path.exists()
