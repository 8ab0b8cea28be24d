"""A real Chromium without a window, driven over its own DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.requirements import require_peer

START_LIMIT = 30.0
LOAD_LIMIT = 20.0


def program() -> str:
    """The browser of this machine."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        require_peer("chromium", "no chromium on PATH")
    return found


@dataclass(slots=True)
class Chromium:
    """One tab."""

    socket: aiohttp.ClientWebSocketResponse
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def open(self, url: str) -> None:
        """Lead the tab there; comes back at once, for a page may take as long as a sign-in."""
        await self.do("Page.navigate", url=url)

    async def text(self, wanted: str) -> str:
        """What the tab shows, once it shows this."""
        return str(await self.run(f"document.body.innerText.includes({json.dumps(wanted)}) && document.body.innerText"))

    async def run(self, script: str) -> object:
        """The first true value of the script, asked again until there is one."""
        async with asyncio.timeout(LOAD_LIMIT):
            while True:
                got = await self.do("Runtime.evaluate", expression=f"document.body && ({script})", returnByValue=True)
                if value := got.get("result", {}).get("value"):
                    return value
                await asyncio.sleep(0.02)  # the page is another process's

    async def screenshot(self, *, dark: bool) -> bytes:
        """What a person sees, by day or by night."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.do("Emulation.setEmulatedMedia", features=scheme)
        got = await self.do("Page.captureScreenshot", format="png")
        return base64.b64decode(got["data"])

    async def do(self, method: str, **params: object) -> dict[str, Any]:
        """One command; its result."""
        number = next(self._numbers)
        await self.socket.send_json({"id": number, "method": method, "params": params})
        while True:
            said: dict[str, Any] = await self.socket.receive_json(timeout=LOAD_LIMIT)
            if said.get("id") == number:
                # A page that is on its way elsewhere answers an error, and is asked again.
                result: dict[str, Any] = said.get("result", {})
                return result


@asynccontextmanager
async def chromium(*, any_certificate: bool = False) -> AsyncIterator[Chromium]:
    """A fresh browser with one tab, ended with the block; ``any_certificate`` where a server has a CA of its own."""
    with tempfile.TemporaryDirectory(prefix="jun-", ignore_cleanup_errors=True) as profile:
        words = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run"]
        # As root, and in most containers, Chromium has no sandbox of its own; it sees loopback pages of ours alone.
        words += ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]
        words += ["--disable-background-networking", "--window-size=900,640", "about:blank"]
        words += ["--ignore-certificate-errors"] * any_certificate
        nowhere = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            program(), *words, stdin=nowhere, stdout=nowhere, stderr=nowhere, env={**os.environ, "HOME": profile}
        )
        try:
            port = await _port(Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as got:
                    tab = next(target for target in await got.json() if target["type"] == "page")
                async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    yield Chromium(socket)
        finally:
            process.terminate()
            await process.wait()


async def _port(file: Path) -> int:
    async with asyncio.timeout(START_LIMIT):
        while not file.exists() or "\n" not in file.read_text():  # noqa: ASYNC110, ASYNC240 - its only sign of life
            await asyncio.sleep(0.02)
    return int(file.read_text().split("\n")[0])  # noqa: ASYNC240 - one line
