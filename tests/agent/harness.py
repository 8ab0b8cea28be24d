"""An agent in the test's own loop, before servers of the test's own, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from juniperd import wire
from juniperd.agent import Agent
from juniperd.config import Config, IssuerEntry, Network
from juniperd.door import open_door
from juniperd.identity import SubjectToken
from juniperd.jose import SigningKey
from juniperd.journal import Journal
from juniperd.model import Secret
from juniperd.store import Vault
from juniperd.turns import Turns

from .doubles import SIGNER, Doubles

SCOPE = "invoice-archive-writer"


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a helper got."""

    stdout: bytes
    stderr: bytes
    status: int

    @property
    def events(self) -> list[dict[str, object]]:
        """Standard output as control events."""
        return [json.loads(line) for line in self.stdout.splitlines()]


async def speak(path: Path, *argv: str, stdin: bytes = b"", **variables: str) -> Spoken:
    """One request, as a helper makes it."""
    return await speak_bytes(path, *(a.encode() for a in argv), stdin=stdin, **variables)


async def speak_bytes(path: Path, *argv: bytes, stdin: bytes = b"", **variables: str) -> Spoken:
    """The same with arguments that are not text."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(wire.encode_request(wire.Request(argv, variables)))
        return await listen(reader, writer, stdin)
    finally:
        writer.close()


async def listen(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None = None, stdin: bytes = b""
) -> Spoken:
    """The answer, to its last frame; standard input goes out when it is asked for."""
    decoder = wire.Decoder()
    got = {"o": b"", "e": b""}
    while data := await reader.read(65536):
        for frame in decoder.feed(data):
            if frame.kind == "x":
                return Spoken(got["o"], got["e"], frame.payload[0])
            if frame.kind == "s" and writer is not None:
                writer.write(wire.encode_bytes("i", stdin) + wire.encode(wire.Frame("i")))
                continue
            got[frame.kind] += frame.payload
    pytest.fail(f"the agent went away after {got}")


async def until(condition: Callable[[], object], within: float = 20.0) -> None:
    """Let the servers work until ``condition`` holds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in programs that set no event of ours
            await asyncio.sleep(0.002)


class Keyring(Vault, Protocol):
    """A keyring, and what its agents lock."""

    turns: Path | None


@dataclass(slots=True)
class Running:
    """An agent that serves."""

    agent: Agent
    path: Path
    world: Doubles
    log: io.StringIO

    async def aws(self, scope: str = SCOPE) -> Spoken:
        """Ask as the AWS SDKs do."""
        return await speak(self.path, "juniper-aws", "--scope", scope)

    async def control(self, verb: str, **parameters: object) -> Spoken:
        """Ask as the command line does."""
        return await speak(self.path, "juniper", verb, json.dumps(parameters))

    async def login(self) -> dict[str, object]:
        """Sign in; the result."""
        answer = await self.control("login")
        assert answer.status == 0, answer.stderr
        await asyncio.gather(*self.agent._ahead.values())
        return answer.events[-1]


def config_for(world: Doubles, folder: Path, *, store: str = "memory") -> Config:
    entry = IssuerEntry("team", world.issuer.url, world.idp.url)
    return Config(folder / "juniper.toml", {"team": entry}, Network(), store=store, sandbox=True)


def job_config(world: Doubles, folder: Path) -> Config:
    """As ``juniper ci`` writes it for the agent of a job."""
    entry = IssuerEntry("ci", world.issuer.url, "", pipeline=True)
    return Config(folder / "juniper.toml", {"ci": entry}, Network(), store="memory", sandbox=True)


def job_token(world: Doubles, *, life: float = 3600.0, **others: object) -> SubjectToken:
    """A job's ID token with the key of its agent, which the issuer has bound it to."""
    now, key = int(world.clock()), SigningKey.generate_es256()
    claims: dict[str, object] = {"iss": "https://gitlab.test", "aud": world.issuer.url, "iat": now, "exp": now + life}
    claims |= {"job_id": "900", "user_id": "8", "user_login": "maintainer", "jti": "j-900", **others}
    world.issuer.pins.add(key.kid)
    return SubjectToken(Secret(SIGNER.sign(claims)), key)


@asynccontextmanager
async def serving(
    world: Doubles,
    folder: Path,
    *,
    vault: Keyring | None = None,
    config: Config | None = None,
    job: SubjectToken | None = None,
) -> AsyncIterator[Running]:
    """An agent before ``world``, until the block ends; with ``vault`` its sign-ins rest in that, with ``job`` it is a job's."""
    world.idp.interval = 0.01
    log = io.StringIO()
    config = config or config_for(world, folder, store="memory" if vault is None else "keyring")
    agent = Agent(config, clock=world.clock, journal=Journal(log, world.clock), job=job)
    if vault is not None:
        agent.store._open_vault = lambda: vault
        agent.store._turns = Turns(vault.turns)
    path = folder / "agent.sock"
    task = asyncio.create_task(agent.serve(open_door(path), socket_path=path))
    await asyncio.sleep(0)
    try:
        yield Running(agent, path, world, log)
    finally:
        agent.stop.set()
        with suppress(asyncio.CancelledError):
            await task
