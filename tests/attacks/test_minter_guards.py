"""Lines of the minter's that could be broken without any test's notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from juniperd.http import Answer
from juniperd.minter import app
from tests.minter.harness import PROJECT, Bench, end, open_bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as opened:
        yield opened


async def test_an_expired_token_of_a_persons_is_left_to_them(bench: Bench) -> None:
    add = bench.gitlab.deploy_tokens.add
    for name in ("production cluster", "juniper-by-hand", "juniper 7-developer x"):
        add(PROJECT, ("read_registry",), name=name, expires_at=bench.clock() - 1)
    assert await bench.minter.sweep.once()
    assert bench.tokens == ["production cluster", "juniper-by-hand"]


async def test_a_replay_while_gitlab_works_takes_no_token_from_under_its_order(bench: Bench) -> None:
    bench.front.keeps = True
    order = bench.issuer.mint()
    asked = asyncio.create_task(bench.order(order))
    await bench.front.kept.wait()
    assert (await bench.order(order))[0] == 400
    assert await bench.minter.sweep.once()
    bench.front.let_go.set()
    assert ((await asked)[0], bench.tokens) == (201, [order.name])


async def test_what_changes_something_has_a_connection_of_its_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an order that was sent into a connection that had died nobody knows whether it arrived."""
    http = bench.minter.mint._gitlab._http
    request, seen = http.request, []

    async def noting(method: str, url: str, **options: object) -> Answer:
        seen.append((method, bool(options.get("alone"))))
        return await request(method, url, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(http, "request", noting)
    order = bench.issuer.mint()
    await bench.order(order)
    await bench.order(end(order))
    await bench.minter.sweep.once()
    assert set(seen) == {("POST", True), ("DELETE", True), ("GET", False)}


async def test_the_ledger_is_on_disk_before_its_caller_goes_on(bench: Bench) -> None:
    found = await bench.minter.sweep._ledger._do(lambda c: c.execute("PRAGMA synchronous").fetchone()[0])
    assert found == 2


async def test_one_address_does_not_take_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "MOST_EACH", 2)
    async with open_bench(tmp_path) as bench:
        address = bench.minter.address
        held = [await asyncio.open_connection(address.host, address.port) for _ in range(2)]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        async with asyncio.timeout(2):  # and not at the end of its time for a handshake
            assert await reader.read() == b""
        for _, one in (*held, (reader, writer)):
            one.close()
