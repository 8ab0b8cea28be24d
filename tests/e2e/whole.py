"""Everything in one loop on one clock: identity provider, GitLab, STS, a real issuer and an agent.

Between processes nobody can turn a clock; here an hour is a statement.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import pytest

from juniperd import broker, wire
from juniperd import config as agent_config
from juniperd.agent import Agent
from juniperd.door import open_door
from juniperd.issuer import app as issuer_app
from juniperd.issuer import audit
from juniperd.issuer import config as issuer_config
from juniperd.journal import Journal
from juniperd.minter import app as minter_app
from juniperd.minter import config as minter_config
from juniperd.sandbox import google_cloud
from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.aws import AwsDouble
from juniperd.sandbox.company import company
from juniperd.sandbox.files import write_certificates, write_files
from juniperd.sandbox.folder import Folder
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken
from juniperd.sandbox.google import GoogleDouble
from juniperd.sandbox.idp import IdpDouble
from juniperd.sandbox.listening import Listening
from juniperd.sandbox.places import Places
from juniperd.sandbox.supervisor import ChildUrls, addresses, furnish, minter_account, people, register_page
from juniperd.sandbox.verbs import Doubles, act
from tests.faults.hostile import Doors

SCOPE = "invoice-archive-writer"
PATIENCE = broker.PATIENCE
"""Seconds that an agent lets a tool wait; in a company without doors it is put off, but where a test puts it back."""
UPSTREAMS = ("idp", "gitlab", "sts")


@dataclass(slots=True)
class Clock:
    """The time of everybody here; it starts now, because certificates are checked by the system's."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def http_date(self) -> str:
        """The ``Date`` of an answer."""
        return formatdate(self.now, usegmt=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a helper or our command line got."""

    status: int
    stdout: bytes
    line: str

    @property
    def result(self) -> dict[str, object]:
        """The last event of a control request."""
        assert self.status == 0, self
        found: dict[str, object] = json.loads(self.stdout.splitlines()[-1])
        return found


@dataclass(slots=True)
class Whole:
    """A company with its developer's laptop."""

    clock: Clock
    doubles: Doubles
    issuer: issuer_app.Issuer
    agent: Agent
    socket: Path
    minter: minter_app.Minter

    def drill(self, *words: str) -> None:
        """As ``juniper sandbox …``."""
        act(self.doubles, words)

    async def aws(self, scope: str = SCOPE) -> Answer:
        """Ask as the AWS SDKs do."""
        return await self._speak("juniper-aws", "--scope", scope)

    async def mint(self, scope: str = SCOPE) -> Answer:
        """The same with no lease and no failure in the agent's memory: what a program of one's own could ask."""
        self.agent.broker.forget("sandbox")
        return await self.aws(scope)

    async def control(self, verb: str, **parameters: object) -> Answer:
        """Ask as the command line does."""
        return await self._speak("juniper", verb, json.dumps(parameters))

    async def sign_in(self, role: str = "developer") -> None:
        """Sign in as this person."""
        self.drill("idp", "as", role)
        assert (await self.control("login")).status == 0

    async def lease(self) -> dict[str, object] | None:
        """The lease that status shows, or ``None``."""
        shown = (await self.control("status")).result["leases"]
        assert isinstance(shown, list)
        return shown[0] if shown else None

    def last_decision(self) -> dict[str, object]:
        """What the issuer wrote down last."""
        return self.events("decision")[-1]

    async def open_session(self, **asked: object) -> dict[str, object]:
        """A session on staging for an hour, unless told otherwise."""
        usual = {"project": "shop/billing", "environment": "staging", "seconds": 3600}
        return (await self.control("session_open", **{**usual, **asked})).result

    async def aws_at(self, socket: object, scope: str = SCOPE) -> Answer:
        """Ask as the AWS SDKs do within a session."""
        return await self._speak("juniper-aws", "--scope", scope, socket=Path(str(socket)))

    def events(self, kind: str) -> list[dict[str, object]]:
        """The issuer's records of one kind, oldest first."""
        records = self.issuer.state.read(lambda connection: list(audit.records(connection)))
        return [record for record in records if record["event"] == kind]

    async def docker(self, server: str) -> Answer:
        """Ask as Docker does."""
        return await self._speak("docker-credential-juniper", "get", said=server.encode())

    async def _speak(
        self, *argv: str, socket: Path | None = None, said: bytes = b"", variables: dict[str, str] | None = None
    ) -> Answer:
        reader, writer = await asyncio.open_unix_connection(socket or self.socket)
        try:
            writer.write(wire.encode_request(wire.Request(tuple(word.encode() for word in argv), variables or {})))
            return await _answer(reader, writer, said)
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes) -> Answer:
    decoder, got = wire.Decoder(), {"o": b"", "e": b""}
    while data := await reader.read(65536):
        for frame in decoder.feed(data):
            if frame.kind == "x":
                return Answer(frame.payload[0], got["o"], got["e"].decode().strip())
            if frame.kind == "s":
                writer.write(wire.encode_bytes("i", said) + wire.encode(wire.Frame("i")))
                continue
            got[frame.kind] += frame.payload
    pytest.fail(f"the agent went away after {got}")


@asynccontextmanager
async def whole(
    place: Path,
    account: AwsAccount,
    monkeypatch: pytest.MonkeyPatch,
    *,
    link_page: bool = False,
    doors: Doors | None = None,
    change: Callable[[Folder], None] | None = None,
) -> AsyncIterator[Whole]:
    """The company, its issuer and an agent, until the block ends; people are linked by ``extern_uid`` or on the page.

    With ``doors``, each upstream stands behind one that can be told to fail. ``change`` may rewrite the files before
    anybody reads them.
    """
    clock = Clock()
    monkeypatch.setattr("aiohttp.web_response.rfc822_formatted_time", clock.http_date)
    monkeypatch.setattr("juniperd.identity.device.SHORTEST_INTERVAL", 0.01)
    monkeypatch.setattr("juniperd.identity.device.LONGEST_INTERVAL", 0.01)
    if doors is None:
        # Where everything shares a processor, what a tool would wait for is no measure; a helper keeps its own deadline.
        monkeypatch.setattr(broker, "PATIENCE", 20.0)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    idp, gitlab, aws = (Listening.reserve() if doors is None else doors.reserve(name) for name in UPSTREAMS)
    folder, child_urls = Folder(place), ChildUrls.free()
    tls = write_certificates(folder)
    doubles = Doubles(
        IdpDouble(people(), clock=clock, interval=0.01, listening=idp),
        GitLabDouble(
            company(), ReaderToken("glpat-of-the-tests"), clock=clock, listening=gitlab, minter=minter_account()
        ),
        AwsDouble(account, tls.trusting, clock, listening=aws),
        Places.furnished(account, child_urls.public, tls, clock),
        GoogleDouble(google_cloud.furnished(child_urls.public), tls.trusting, clock),
    )
    at = addresses(doubles, child_urls)
    secret = register_page(doubles, at)
    tokens = {"reader_token": doubles.gitlab.token.value, "minter_token": doubles.gitlab.minter_secret}
    write_files(folder, at, **tokens, page_secret=secret if link_page else None)
    if change is not None:
        change(folder)
    furnish(account, at)
    async with AsyncExitStack() as stack:
        if doors is not None:
            await stack.enter_async_context(doors.standing(folder, at))
        for double in doubles.all():
            await stack.enter_async_context(double)
        config = issuer_config.load(folder / "issuer.toml")
        issuer = await stack.enter_async_context(issuer_app.running(config, clock=clock))
        minting = minter_config.load(folder / "minter.toml")
        minter = await stack.enter_async_context(minter_app.running(minting, clock=clock))
        agent, socket = _agent(folder, clock), place / "agent.sock"
        # As an agent does that has been idle for a while: else the first tool waits for boto3 in a process of many parts.
        await agent.exchanges.warm()
        serving = asyncio.create_task(agent.serve(open_door(socket), socket_path=socket))
        stack.push_async_callback(_end, agent, serving)
        await asyncio.sleep(0)
        yield Whole(clock, doubles, issuer, agent, socket, minter)


def _agent(folder: Folder, clock: Clock) -> Agent:
    return Agent(agent_config.load(folder / "juniper.toml"), clock=clock, journal=Journal(io.StringIO(), clock))


async def _end(agent: Agent, serving: asyncio.Task[None]) -> None:
    agent.stop.set()
    await serving
