"""What fills a project's share at the minter, and what is said then."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from juniperd.minter import ledger
from juniperd.sandbox.faults import Fault
from tests.issuer.minter_double import Minter, minting_company
from tests.minter.harness import Bench, open_bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as opened:
        yield opened


async def test_a_gitlab_that_fails_fills_no_share(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One loop of pulls against a GitLab that answers 502 would lock the project out for an hour after it is mended."""
    monkeypatch.setattr(ledger, "MOST_LIVE", 3)
    bench.gitlab.faults.add(Fault("/api/v4/projects/*/deploy_tokens", status=502))
    for _ in range(4):
        assert (await bench.order(bench.issuer.mint()))[0] == 503
    bench.gitlab.faults.heal()
    assert (await bench.order(bench.issuer.mint()))[0] == 201


async def test_who_may_not_push_is_not_told_that_the_project_is_unknown(tmp_path: Path) -> None:
    minter = Minter()
    async with minting_company(tmp_path, minter) as company:
        laptop, token = await company.signed_in()
        _, session = await laptop.open_session(token)
        minter.down = 403
        asked = {"scope": "image-writer", "audience": "images", "session": session["id"]}
        status, body = await laptop.token(token, **asked)
    assert status == 400
    assert body["error_description"] == (
        "the minter makes no tokens in project 42, or none that push; ask who runs it: projects, may_write"
    )


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 30_000 + b"\r\n\r\n", b"400"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
    ],
)
async def test_what_is_no_http_fills_no_log(
    bench: Bench, caplog: pytest.LogCaptureFixture, request_: bytes, status: bytes
) -> None:
    """A stranger's hundred bytes were a hundred lines of traceback, as often as they liked; the issuer has the same ears."""
    trusted = ssl.create_default_context(cafile=str(bench.folder / "ca.pem"))
    address = bench.minter.address
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=trusted)
    writer.write(request_)
    assert status in (await reader.readline()).split()
    writer.close()
    await asyncio.sleep(0.05)
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
