"""What the checks share: variables, folders, configuration, the network as the agent has it, and the agent's own word.

Nobody is asked twice: whatever several checks need of the agent is one question, and its answer is kept.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from juniperd import config as configuration
from juniperd import paths
from juniperd.address import host_of
from juniperd.config import Config, IssuerEntry, Network
from juniperd.errors import IssuerUnreachable, JuniperError, LoginRequired
from juniperd.http import Answer, Http
from juniperd.issuer_answers import objects
from juniperd.issuer_client import IssuerClient
from juniperd.model import Clock, Kind
from juniperd.skew import ClockSkew
from juniperd.threads import in_thread

Event = Mapping[str, object]
Ask = Callable[[str, Mapping[str, object]], Event]
"""Asks the agent for the result of a control request; it may block."""
WITHIN = 3.0
"""Seconds a server may take for one answer: many times what one takes that is well."""


@dataclass(frozen=True, slots=True)
class Held:
    """A scope that the person holds at one relying party; ``asks`` is how a tool names the scope."""

    issuer: str
    scope: str
    asks: str
    project: str
    kind: str
    asleep: bool
    target: Event


class Laptop:
    """One person's machine. ``programs`` is the folder in which this ``juniper`` lies."""

    def __init__(self, *, environ: Mapping[str, str], home: Path, programs: Path, ask: Ask, clock: Clock) -> None:
        self.environ = environ
        self.home = home
        self.programs = programs
        self.clock = clock
        self.config, self.problem = _configuration(environ)
        self.clocks: dict[str, ClockSkew] = {}
        self._ask = ask
        self._asked: dict[str, asyncio.Task[Event]] = {}
        self.http = Http(
            ca_file=self.network.ca_file,
            proxy=self.network.proxy,
            no_proxy=self.network.no_proxy,
            plain_loopback=self.sandbox,
        )

    @property
    def issuers(self) -> Mapping[str, IssuerEntry]:
        """The issuers that are configured."""
        return {} if self.config is None else self.config.issuers

    @property
    def network(self) -> Network:
        """How the agent reaches servers."""
        return Network() if self.config is None else self.config.network

    @property
    def sandbox(self) -> bool:
        """Whether this is the sandbox's laptop."""
        return self.config is not None and self.config.sandbox

    async def ask(self, verb: str, **parameters: object) -> Event:
        """The agent's answer, asked for once; raises what it says instead."""
        named = json.dumps([verb, parameters], sort_keys=True)
        if named not in self._asked:
            work = in_thread(partial(self._ask, verb, parameters), name=verb)
            self._asked[named] = asyncio.ensure_future(work)
        # A check that runs out of time leaves the question to the others.
        return await asyncio.shield(self._asked[named])

    async def sign_ins(self) -> dict[str, Event]:
        """The state of each sign-in by its issuer; none where no agent answers."""
        with suppress(JuniperError):
            return {str(one.get("issuer")): one for one in objects((await self.ask("status")).get("sign_ins"))}
        return {}

    async def catalogue(self, issuer: str) -> Event:
        """What this person may hold at one issuer; raises what the agent says instead."""
        if (await self.sign_ins()).get(issuer, {}).get("state") != "signed-in":
            msg = "nobody is signed in"
            raise LoginRequired(msg)
        try:
            async with asyncio.timeout(WITHIN):
                issuers = (await self.ask("catalogue", issuer=issuer)).get("issuers")
        except TimeoutError:
            msg = f"the issuer did not say within {WITHIN:g} s what you hold"
            raise IssuerUnreachable(msg) from None
        found = issuers.get(issuer) if isinstance(issuers, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    async def rows(self) -> list[tuple[str, Event]]:
        """Every scope of every catalogue that is to be had, with its issuer."""
        found: list[tuple[str, Event]] = []
        for issuer in self.issuers:
            with suppress(JuniperError):
                found += [(issuer, row) for row in objects((await self.catalogue(issuer)).get("scopes"))]
        return found

    async def held(self, kind: Kind | None = None) -> list[Held]:
        """What the person holds, a line for each scope and relying party."""
        several = len(self.issuers) > 1
        return [
            one
            for issuer, row in await self.rows()
            for one in _held(issuer, row, several=several)
            if row.get("held") and kind in (None, one.kind)
        ]

    async def get(self, url: str) -> Answer:
        """A server's answer, whatever its status; its clock is remembered."""
        skew, asked_at = ClockSkew(self.clock), self.clock()
        answer = await self.http.request("GET", url, timeout=WITHIN)
        if answer.date is not None:
            skew.observe(answer.date, asked_at=asked_at)
            self.clocks[host_of(url)] = skew
        return answer

    def issuer(self, entry: IssuerEntry) -> IssuerClient:
        """The issuer as the agent meets it."""
        return IssuerClient(
            entry, http=self.http, clock=self.clock, new_id=lambda: uuid.uuid4().hex, skew=ClockSkew(self.clock)
        )

    async def close(self) -> None:
        """Let go of connections, and of questions that nobody waits for any more."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
        await self.http.close()


def _configuration(environ: Mapping[str, str]) -> tuple[Config | None, JuniperError | None]:
    try:
        return configuration.load(paths.config_path(environ)), None
    except JuniperError as error:
        return None, error


def _held(issuer: str, row: Event, *, several: bool) -> Iterator[Held]:
    scope = str(row.get("name"))
    for target in objects(row.get("targets")):
        yield Held(
            issuer=issuer,
            scope=scope,
            asks=f"{issuer}/{scope}" if several else scope,
            project=str(row.get("project")),
            kind=str(target.get("kind")),
            asleep=row.get("activation") == "session",
            target=target,
        )
