"""The issuer's composition root: from ``issuer.toml`` to two listeners, and from a signal to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from juniperd import memory
from juniperd.errors import JuniperError, StateError
from juniperd.http import Http
from juniperd.issuer import admin, audit, heads, links, lint, orders, policy_file
from juniperd.issuer import config as configuration
from juniperd.issuer.callers import Callers
from juniperd.issuer.catalogue import Catalogue
from juniperd.issuer.code_flow import CodeFlow, dice
from juniperd.issuer.comparison import Comparison
from juniperd.issuer.config import IssuerConfig
from juniperd.issuer.deploy_tokens import DeployTokens
from juniperd.issuer.desk import Desk
from juniperd.issuer.docket import Docket
from juniperd.issuer.gitlab import Gitlab
from juniperd.issuer.ground import Ground
from juniperd.issuer.health import MOST_CONNECTIONS, Health, Standing
from juniperd.issuer.history import History
from juniperd.issuer.inquiry import Inquiry
from juniperd.issuer.job_catalogue import JobCatalogue
from juniperd.issuer.judge import InForce, Judge
from juniperd.issuer.keys import Keys
from juniperd.issuer.limits import CHECKS_PER_SECOND, Rate
from juniperd.issuer.link_flows import Flows
from juniperd.issuer.link_site import LinkSite
from juniperd.issuer.minting import Minting
from juniperd.issuer.pipeline import Pipelines
from juniperd.issuer.policy import Policy
from juniperd.issuer.proof import EVERY, SOON, Proof
from juniperd.issuer.proofs import Proofs
from juniperd.issuer.revocation import Revocation
from juniperd.issuer.session_endpoint import SessionEndpoint
from juniperd.issuer.sign_ins import SignIns
from juniperd.issuer.state import State
from juniperd.issuer.subject import Subjects
from juniperd.issuer.sweep import Sweep
from juniperd.issuer.token import TokenEndpoint
from juniperd.issuer.web import Parts, api_app, public_app, whole_app
from juniperd.jwks import KeySets
from juniperd.listener import listening, most_connections
from juniperd.model import Clock
from juniperd.settings import Listen

log = logging.getLogger("juniperd.issuer")
HEAD_EVERY = 60.0
_ADDRESS_SHARE = 8
"""One address holds an eighth of a listener's connections at most."""


def new_id() -> str:
    """An id nobody can guess: decisions and ``jti``."""
    return secrets.token_hex(12)


@dataclass(slots=True)
class Issuer:
    """A running issuer; ``addresses`` are where it listens, public listener first."""

    config: IssuerConfig
    state: State
    in_force: InForce
    keys: Keys
    gitlab: Gitlab
    clock: Clock
    sweep: Sweep
    minting: Minting
    addresses: tuple[Listen, ...] = ()
    ops_address: Listen | None = None
    standing: Standing = field(default_factory=Standing)
    blind_on_record: frozenset[int] = frozenset()
    reloaded: asyncio.Event = field(default_factory=asyncio.Event)

    def desk(self) -> Desk:
        """What administrators may do to this issuer."""
        return Desk(
            state=self.state,
            keys=lambda: self.keys,
            policy=lambda: self.in_force.policy,
            reload=self.reload,
            clock=self.clock,
            ended=self.minting.look,
        )

    def reload(self) -> Policy:
        """Read the policy files and the reader token anew, whole or not at all."""
        policy = load_policy(self.config)
        self.gitlab.use(self.config.gitlab.token())
        self.in_force.policy = policy
        self.reloaded.set()
        return policy

    async def record(self, event: str, fields: Mapping[str, object]) -> None:
        """One more event in the trail."""
        now = self.clock()
        await self.state.write(lambda c: audit.append(c, event, at=now, fields=fields))

    async def prove(self) -> bool:
        """Prove that the reader token sees enough and refuse the projects where it does not; False where GitLab was late."""
        by_extern_uid = any(not i.link.on_page for i in self.config.identities.values())
        unlicensed = self.config.gitlab.unlicensed
        proof = Proof(self.gitlab, unlicensed=unlicensed, clock=self.clock, by_extern_uid=by_extern_uid)
        findings = await proof.run(self.in_force.policy)
        for warning in findings.warnings:
            log.warning("%s", warning)
        blind = frozenset(findings.blind)
        if findings.whole:
            self.in_force.blind = blind
            self.standing.proven_at, self.standing.reader_ends = self.clock(), findings.reader_ends
        if findings.whole and blind != self.blind_on_record:
            await self.record("reader", {"blind": sorted(blind), "warnings": findings.warnings})
            self.blind_on_record = blind
        return findings.whole


def load_policy(config: IssuerConfig) -> Policy:
    """The policy that the configuration names."""
    minter = config.minter is not None
    return policy_file.load(config.policy, config.relying_parties, sandbox=config.sandbox, minter=minter)


@asynccontextmanager
async def running(
    config: IssuerConfig, *, clock: Clock = time.time, ids: Callable[[], str] = new_id
) -> AsyncIterator[Issuer]:
    """An issuer that listens from here to the end of the block."""
    async with AsyncExitStack() as stack:
        policy = load_policy(config)
        token = config.gitlab.token()
        keys = Keys(config.keys, now=clock())
        state = State(config.state)
        stack.callback(state.close)
        if not state.read(lambda c: heads.check(config.state, c)):
            log.warning("the trail was compared with no head; compare it with one of your logs: juniper audit verify")
        http = await stack.enter_async_context(
            Http(
                ca_file=config.network.ca_file,
                proxy=config.network.proxy,
                no_proxy=config.network.no_proxy,
                plain_loopback=config.sandbox,
            )
        )
        await state.write(orders.end_lost)
        ground = Ground(config, state, clock, ids)
        gitlab = Gitlab(http, url=config.gitlab.url, token=token, clock=clock)
        minting = Minting(ground, http, keys=lambda: issuer.keys)
        sweep = Sweep(state, clock=clock, ended=minting.look)
        issuer = Issuer(config, state, InForce(policy), keys, gitlab, clock, sweep, minting)
        parts = _parts(issuer, ground, http, KeySets(http, clock=clock))
        stack.push_async_callback(parts.token.close)
        issuer.addresses = await _listen(stack, config, parts)
        if config.ops_listen is not None:
            health = Health(state, issuer.in_force, issuer.standing, clock=clock)
            issuer.ops_address = await listening(
                stack, health.app(), config.ops_listen, tls=None, most=MOST_CONNECTIONS
            )
        await stack.enter_async_context(admin.door(config.state, issuer.desk()))
        await issuer.record("policy", {"policy": policy.digest})
        yield issuer


def _parts(issuer: Issuer, ground: Ground, http: Http, key_sets: KeySets) -> Parts:
    config, state, clock, ended = issuer.config, issuer.state, issuer.clock, issuer.minting.look
    inquiry = Inquiry(
        issuer.gitlab,
        unlicensed=config.gitlab.unlicensed,
        clock=clock,
        linked=lambda who: state.read(lambda c: links.on_page(c, who)),
    )
    judge = Judge(issuer.in_force, inquiry, state, clock=clock)
    pipelines = Pipelines(issuer.in_force, inquiry, state, clock=clock)
    subjects = Subjects(config, key_sets)
    proofs = Proofs(config.api_url, clock=clock)
    state.read(proofs.load)
    by_subject = Rate(config.limits.per_subject, clock=clock)
    callers = Callers(ground, inquiry=inquiry)
    return Parts(
        config=config,
        token=TokenEndpoint(
            ground,
            subjects=subjects,
            docket=Docket(ground, judge=judge, pipelines=pipelines),
            keys=lambda: issuer.keys,
            proofs=proofs,
            by_subject=by_subject,
            deploy_tokens=DeployTokens(ground, minting=issuer.minting),
        ),
        revocation=Revocation(ground, proofs=proofs, ended=ended),
        sign_ins=SignIns(ground, inquiry=inquiry, ended=ended),
        catalogue=Catalogue(ground, judge=judge, inquiry=inquiry, callers=callers),
        job_catalogue=JobCatalogue(ground, pipelines),
        comparison=Comparison(ground, judge=judge, callers=callers),
        history=History(ground, callers=callers),
        sessions=SessionEndpoint(ground, judge=judge, changed=issuer.sweep.look, ended=ended),
        subjects=subjects,
        proofs=proofs,
        state=state,
        keys=lambda: issuer.keys,
        by_subject=by_subject,
        by_address=Rate(config.limits.per_address, clock=clock),
        checks=Rate(60 * CHECKS_PER_SECOND, clock=clock, at_once=CHECKS_PER_SECOND),
        clock=clock,
        standing=issuer.standing,
        link_site=_link_site(ground, inquiry, CodeFlow(http, key_sets, clock=clock, sandbox=config.sandbox)),
    )


def _link_site(ground: Ground, inquiry: Inquiry, code_flow: CodeFlow) -> LinkSite | None:
    """The page, where an identity is linked there; its client secret is looked for before anybody needs it."""
    config, clock = ground.config, ground.clock
    if not any(i.link.on_page for i in config.identities.values()):
        return None
    config.gitlab.client_secret()
    by_address = Rate(config.limits.per_address, clock=clock)
    return LinkSite(ground, code_flow, Flows(clock=clock, throw=dice), inquiry, by_address, dice)


async def _listen(stack: AsyncExitStack, config: IssuerConfig, parts: Parts) -> tuple[Listen, ...]:
    if config.api_listen == config.listen:
        wanted = [(config.listen, whole_app(parts))]
    else:
        wanted = [(config.listen, public_app(parts)), (config.api_listen, api_app(parts))]
    tls = config.tls.context() if config.tls is not None else None
    most = most_connections() // len(wanted)
    # Behind a proxy every connection is the proxy's, which keeps its own count.
    most_each = None if tls is None else max(1, most // _ADDRESS_SHARE)
    found = []
    for listen, app in wanted:
        found.append(await listening(stack, app, listen, tls=tls, most=most, most_each=most_each))
    return tuple(found)


async def serve(config: IssuerConfig, *, clock: Clock = time.time) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the policy anew; the trail's head goes to stdout each minute."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    reloads: set[asyncio.Future[None]] = set()
    async with running(config, clock=clock) as issuer:
        today = datetime.fromtimestamp(clock(), UTC).date()
        for finding in (*lint.of_config(config), *lint.of_policy(issuer.in_force.policy, today)):
            log.warning("%s", finding)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: reloads.add(asyncio.ensure_future(_reload(issuer))))
        chores = [
            asyncio.create_task(work) for work in (_keep_proving(issuer), issuer.sweep.run(), issuer.minting.run())
        ]
        _say(sys.stderr, f"listening on {', '.join(map(str, issuer.addresses))}")
        if issuer.ops_address is not None:
            _say(sys.stderr, f"health and metrics on {issuer.ops_address}")
        while not stop.is_set():
            _tell_head(issuer)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), HEAD_EVERY)
        for chore in chores:
            chore.cancel()
        _tell_head(issuer)


async def _keep_proving(issuer: Issuer) -> None:
    """Prove at the start, hourly, after a reload, and soon again where GitLab was late."""
    while True:
        issuer.reloaded.clear()
        try:
            whole = await issuer.prove()
        except JuniperError as error:  # a trail that cannot be written stops issuance, not this loop
            log.warning("%s", error)
            whole = False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(issuer.reloaded.wait(), EVERY if whole else SOON)


async def _reload(issuer: Issuer) -> None:
    try:
        policy = issuer.reload()
        await issuer.record("policy", {"policy": policy.digest})
    except JuniperError as error:
        _say(sys.stderr, f"policy not reloaded, the old one stays in force: {error}")
    else:
        _say(sys.stderr, f"policy reloaded, {policy.digest}")


def _tell_head(issuer: Issuer) -> None:
    """The chain's head to stdout and beside the data base: what a shortened trail is compared with.

    A disk that takes nothing stops issuance where it is written, and not the server that says so.
    """
    try:
        head = issuer.state.read(audit.head)
        heads.write(issuer.config.state, head)
        _say(sys.stdout, f"audit head {head}")
    except (OSError, StateError) as error:
        log.warning("the trail's head cannot be told (%s)", error)


def _say(stream: IO[str], text: str) -> None:
    stream.write(f"issuer: {text}\n")
    stream.flush()


def run(config_path: Path) -> int:
    """``juniper issuer serve``: the exit status."""
    memory.keep_private()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="issuer: %(message)s")
    try:
        asyncio.run(serve(configuration.load(config_path)))
    except JuniperError as error:
        _say(sys.stderr, str(error))
        return error.exit_status
    return 0
