"""The agent, put together: the only module of its half that knows all the others."""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from juniperd import config as configuration
from juniperd.advice import Advice
from juniperd.broker import Account, Broker
from juniperd.config import Config
from juniperd.door import Door
from juniperd.errors import ConfigError, JuniperError
from juniperd.exchanges import Exchange, ExchangeSettings, load
from juniperd.http import Http
from juniperd.identity import SubjectToken
from juniperd.idp_client import IdpClient
from juniperd.issuer_client import IssuerClient
from juniperd.job import JobSignIn
from juniperd.journal import Journal
from juniperd.jwks import KeySets
from juniperd.model import Clock, Kind
from juniperd.notices import Notices
from juniperd.protocols import discover, google
from juniperd.server import Lender, Server, Witness, no_controls
from juniperd.session_verbs import tell_ended
from juniperd.sessions import Sessions
from juniperd.signin import SignIn
from juniperd.skew import ClockSkew
from juniperd.store import Store
from juniperd.threads import in_thread
from juniperd.upgrade import Upgrade
from juniperd.url_source import UrlSource
from juniperd.uses import Uses
from juniperd.verbs import AgentFacts, Deeds, Desk, Verbs

LOOK_AT_DOOR = 60.0
"""Seconds between two looks whether the socket is still where callers look for it."""


@dataclass(slots=True)
class Exchanges:
    """The exchanges by kind, each made when it is first needed."""

    settings: ExchangeSettings
    _made: dict[Kind, Exchange] = field(default_factory=dict)

    def of(self, kind: Kind) -> Exchange:
        """The exchange of that kind."""
        if kind not in self._made:
            self._made[kind] = load(kind).make(self.settings)
        return self._made[kind]

    async def warm(self) -> None:
        """Import ahead of need, off the loop."""
        await self.of(Kind.AWS).warm()

    def close(self) -> None:
        """Let go of all of them."""
        for exchange in self._made.values():
            exchange.close()


class Agent:
    """Everything one agent consists of, from its configuration."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        journal: Journal,
        problem: ConfigError | None = None,
        job: SubjectToken | None = None,
    ) -> None:
        """``job``: the token of the job that this agent is for; it is shown to every issuer of a pipeline's."""
        network = config.network
        self._config = config
        self._clock = clock
        self._journal = journal
        self._problem = problem
        self._job = job
        self._uses = Uses(clock=clock)
        self.stop = asyncio.Event()
        self._shut = asyncio.Event()
        self.skew = ClockSkew(clock)
        self.store = Store(config.store)
        self.http = Http(
            ca_file=network.ca_file, proxy=network.proxy, no_proxy=network.no_proxy, plain_loopback=config.sandbox
        )
        self.exchanges = Exchanges(
            ExchangeSettings(
                network.ca_file, network.proxy, network.no_proxy, loopback_endpoints=config.sandbox, clock=clock
            )
        )
        self.desks = self._make_desks()
        accounts = {name: Account(name, desk.sign_in, desk.issuer) for name, desk in self.desks.items()}
        dice = random.SystemRandom().random
        self.broker = Broker(accounts, self.exchanges.of, clock=clock, dice=dice, skew=self.skew, problem=problem)
        address = os.environ.get("DBUS_SESSION_BUS_ADDRESS") if config.desktop_notices else None
        self.notices = Notices(address or None, clock=clock, journal=journal, left=self._seconds_left)
        self._ahead: dict[str, asyncio.Task[None]] = {}
        self._sessions: Sessions | None = None
        self._server: Server | None = None
        self._url_source: UrlSource | None = None
        self.gives_way = False
        self.upgrade = Upgrade(
            occupied=self._occupied, would_lose=self._would_lose, give_way=self._give_way, journal=journal
        )

    async def serve(self, door: Door, *, socket_path: Path) -> None:
        """Answer at the door until :attr:`stop` is set; then let what is under way finish."""
        server, sessions, verbs = await self._open(door, socket_path)
        self._journal.note("started", pid=os.getpid(), socket=str(socket_path))
        chores = [asyncio.create_task(work) for work in (self.broker.run(), self._watch(door), self.notices.run())]
        try:
            await self.stop.wait()
        finally:
            for chore in chores:
                chore.cancel()
            await self._leave_off(door, server, sessions, verbs)
            self._journal.note("stopped", pid=os.getpid())

    async def _open(self, door: Door, socket_path: Path) -> tuple[Server, Sessions, Verbs]:
        """Everything in its place, and whoever knocks is let in."""
        facts = AgentFacts(
            socket=str(socket_path),
            config=str(self._config.path),
            started_at=self._clock(),
            store=self.store,
            skew=self.skew,
            problem=self._problem,
            upgrade=self.upgrade,
        )
        self._sessions = Sessions(socket_path.parent, self._serve_session, self.broker, clock=self._clock)
        verbs = Verbs(
            self.desks,
            self.broker,
            sessions=self._sessions,
            uses=self._uses,
            facts=facts,
            clock=self._clock,
            deeds=Deeds(self.end, self.import_ahead, self._read_hosts),
        )
        self._server = Server(
            door,
            tools=discover(),
            lender=self.broker,
            controls=verbs.answer,
            witness=Witness(self._journal, self._uses, self._turned_away),
            rested=self.upgrade.rested,
        )
        await self._server.start()
        if self._config.google_url_source:
            folder = self._config.path.with_name(google.FOLDER)
            self._url_source = UrlSource(self.broker, folder, witness=Witness(self._journal, self._uses))
            await self._url_source.start()
        return self._server, self._sessions, verbs

    async def _leave_off(self, door: Door, server: Server, sessions: Sessions, verbs: Verbs) -> None:
        """Nobody comes in any more; what is under way finishes."""
        self.notices.close()
        self.upgrade.close()
        if self._url_source is not None:
            self._url_source.close()
        if self.gives_way:
            door.keep()
        await server.shut()
        self._shut.set()
        for desk in self.desks.values():
            desk.sign_in.abandon_login()
            desk.advice.drop()
        await tell_ended((self.desks[one.session.issuer], None, one.session.id) for one in sessions)
        await sessions.close()
        await server.drain()
        await verbs.settle()
        await self._close()

    def _turned_away(self, helper: str, error: JuniperError) -> None:
        """Nobody who locked the sign-in has to be told that it is."""
        if not any(desk.sign_in.locked for desk in self.desks.values()):
            self.notices.turned_away(helper, error)

    async def _seconds_left(self) -> dict[str, float | None]:
        held = {name: await desk.sign_in.state() for name, desk in self.desks.items() if desk.sign_in.identity}
        return {name: state.seconds_left for name, state in held.items()}

    async def _serve_session(self, door: Door, lender: Lender) -> Server:
        server = Server(
            door, tools=discover(), lender=lender, controls=no_controls, witness=Witness(self._journal, self._uses)
        )
        await server.start()
        return server

    async def _watch(self, door: Door) -> None:
        """End where nobody can reach this agent any more, so that it does not keep a sign-in for nobody."""
        while not await in_thread(door.lost, name="door"):  # noqa: ASYNC110 - a folder that goes sets no event
            await asyncio.sleep(LOOK_AT_DOOR)
        self._journal.note("unreachable", socket=str(door.path))
        self.leave()

    def leave(self) -> None:
        """Stop for good, also where an upgrade was about to take over."""
        self.gives_way = False
        self.stop.set()

    async def end(self) -> None:
        """Stop serving; returns once nobody can come in any more."""
        self.leave()
        await self._shut.wait()

    def import_ahead(self) -> None:
        """Begin the slow imports, once, while somebody reads a code or nobody asks for anything."""
        if "imports" not in self._ahead:
            self._ahead_of("imports", self.exchanges.warm())

    def _ahead_of(self, need: str, work: Coroutine[Any, Any, None]) -> None:
        """Do in the background what somebody will want soon; whoever needs it first does it again if it failed."""
        self._ahead[need] = asyncio.get_running_loop().create_task(work)

    def _occupied(self) -> bool:
        """Whether anybody waits for something: a caller, a flight that others will ask for, a person who signs in."""
        server = self._server is not None and self._server.occupied
        asked = any(desk.sign_in.occupied or desk.advice.occupied for desk in self.desks.values())
        return server or self.broker.flying or asked

    async def _would_lose(self) -> str | None:
        """What would end with this process, in words: a sign-in of which nobody else has a copy, leases in an outage."""
        signed_in = [desk.issuer.url for desk in self.desks.values() if desk.sign_in.identity is not None]
        rests = [await self.store.rests(url) for url in signed_in]
        # Looked at after the wait, in which somebody may have opened a session, or locked.
        if self._sessions is not None and any(self._sessions):
            return "a debugging session is open; it gives way when that has ended"
        if any(desk.sign_in.locked for desk in self.desks.values()):
            return "a sign-in is locked; it gives way once it is unlocked"
        if not all(rests):
            return "the only copy of the sign-in is in its memory; run: juniper down; juniper login"
        if any(held.problem is not None for held in self.broker.held()):
            return "it keeps leases that nobody could renew now; run: juniper status"
        return None

    def _give_way(self) -> None:
        self.gives_way = True
        self.stop.set()

    async def _fetch_catalogue(self, desk: Desk) -> None:
        with suppress(JuniperError):
            await desk.issuer.catalogue(await desk.sign_in.subject())

    def _read_hosts(self) -> None:
        """What set-up wrote for tools just now: hosts, credential files; whatever else is said counts from the next start."""
        for name, entry in configuration.load(self._config.path).issuers.items():
            if name in self.desks:
                self.desks[name].issuer.hosts = entry.hosts
                self.broker.forgive(name)
        if self._url_source is not None:
            self._url_source.write_files()

    async def _close(self) -> None:
        for desk in self.desks.values():
            await desk.sign_in.close()
            await desk.advice.close()
        self.store.close()
        await self.broker.close()
        for task in self._ahead.values():
            task.cancel()
        self.exchanges.close()
        await self.http.close()

    def _sign_in_changed(self, issuer: str) -> None:
        desk = self.desks[issuer]
        desk.issuer.forget()
        self.broker.forget(issuer)
        if self._sessions is not None:
            self._sessions.end_all(issuer)
        self._journal.note("sign_in_changed", issuer=issuer, signed_in=desk.sign_in.identity is not None)
        # It may be somebody else's sign-in now, who is not to ask GitLab as the one before.
        desk.advice.drop()
        if desk.sign_in.identity is not None:
            self.notices.signed_in()
            self._ahead_of(issuer, self._fetch_catalogue(desk))

    def _make_desks(self) -> dict[str, Desk]:
        idp = IdpClient(self.http, KeySets(self.http, clock=self._clock), clock=self._clock, skew=self.skew)
        desks: dict[str, Desk] = {}
        for entry in self._config.issuers.values():
            issuer = IssuerClient(
                entry, http=self.http, clock=self._clock, new_id=lambda: uuid.uuid4().hex, skew=self.skew
            )
            changed = partial(self._sign_in_changed, entry.name)
            advice = Advice(issuer, http=self.http, clock=self._clock, skew=self.skew)
            sign_in = self._sign_in(issuer, idp, changed, pipeline=entry.pipeline)
            desks[entry.name] = Desk(issuer, sign_in, advice)
        return desks

    def _sign_in(
        self, issuer: IssuerClient, idp: IdpClient, changed: Callable[[], None], *, pipeline: bool
    ) -> SignIn | JobSignIn:
        if not pipeline:
            return SignIn(issuer, idp, store=self.store, clock=self._clock, skew=self.skew, changed=changed)
        if self._job is None:
            msg = f"issuer '{issuer.name}' is for a job, and this agent is for none"
            raise ConfigError(msg, "run: juniper ci -- COMMAND")
        return JobSignIn(self._job.token, self._job.key, clock=self._clock, changed=changed)
