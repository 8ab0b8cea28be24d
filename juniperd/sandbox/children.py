"""Issuer and agent as children of the sandbox: started with a named environment, awaited, ended."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from juniperd.sandbox.folder import Folder, SandboxError
from juniperd.sandbox.processes import Process

START_LIMIT: Final = 20.0
END_LIMIT: Final = 4.0
_POLL: Final = 0.03


@dataclass(frozen=True, slots=True)
class Child:
    """A running child and its log."""

    process: Process
    handle: asyncio.subprocess.Process
    log: Path

    async def end(self) -> None:
        """SIGTERM, then SIGKILL when it takes too long."""
        if self.handle.returncode is not None:
            return
        self.handle.terminate()
        try:
            async with asyncio.timeout(END_LIMIT):
                await self.handle.wait()
        except TimeoutError:
            self.handle.kill()
            await self.handle.wait()


async def spawn(folder: Folder, name: str, command: Sequence[str], variables: Mapping[str, str]) -> Child:
    """Start a program with nothing but these variables; its output goes into its log."""
    log = folder.write(f"log/{name}.log", "")
    try:
        with log.open("ab") as out:
            handle = await asyncio.create_subprocess_exec(
                *command,
                env=dict(variables),
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=asyncio.subprocess.STDOUT,
                umask=0o077,
            )
    except FileNotFoundError:
        raise SandboxError(f"{command[0]} is missing; install juniperd again") from None
    return Child(Process.of(name, handle.pid), handle, log)


async def wait_for_server(child: Child, url: str, ca_file: Path, *, status: int = 200) -> None:
    """Until it answers over TLS, with this status."""
    tls = ssl.create_default_context(cafile=str(ca_file))

    async def answers() -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(url, ssl=tls) as got:
                return got.status == status
        except aiohttp.ClientError:
            return False

    await _until(child, answers)


async def wait_for_agent(child: Child, socket: Path) -> None:
    """Until the agent accepts connections."""

    async def answers() -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(socket)
        except OSError:
            return False
        writer.close()
        return True

    await _until(child, answers)


async def _until(child: Child, answers: Callable[[], Awaitable[bool]]) -> None:
    try:
        async with asyncio.timeout(START_LIMIT):
            while not await answers():
                if child.handle.returncode is not None:
                    last = (child.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
                    raise SandboxError(f"the {child.process.name} ended at once: {last}; see {child.log}")
                await asyncio.sleep(_POLL)
    except TimeoutError:
        problem = f"the {child.process.name} did not answer within {START_LIMIT:.0f} s; see {child.log}"
        raise SandboxError(problem) from None
