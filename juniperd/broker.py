"""CredentialRequest in, lease out: one flight per key, renewal ahead of need, what is valid while upstream is down.

The table (:mod:`juniperd.leases`) knows what is to be done; here it is done: subject token, issuer, exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, cast

from juniperd.errors import (
    ConfigError,
    HostUnknown,
    IssuerUnreachable,
    JuniperError,
    RelyingPartyRefused,
    SessionOver,
    TargetUnknown,
)
from juniperd.exchanges import Deriving, Exchange, Exchanged, IssuedTokenExpired, untraded
from juniperd.flights import Flights
from juniperd.freshness import Window
from juniperd.identity import SubjectToken
from juniperd.leases import Action, Held, LeaseTable
from juniperd.model import (
    BasicLogin,
    Clock,
    Cluster,
    CredentialRequest,
    IssuedToken,
    Kind,
    Lease,
    LeaseKey,
    Rejection,
    Secret,
    Target,
)
from juniperd.skew import ClockSkew

PATIENCE = 3.5
"""Seconds a tool waits here; its helper gives up after four, and our line says more than its own."""
RENEWAL_PATIENCE = 3.0
"""Seconds a caller waits for a renewal while what is held is still valid."""
REJECTED_FOR = 120.0
"""Seconds in which a host that has turned down one credential is shown one new one, and then none: GitLab shuts an
address out that shows it wrong ones too often."""
LONGEST_PAUSE = 60.0
"""Seconds the timer sleeps at most: its clock stands still while a laptop sleeps, and deadlines do not."""


class SubjectSource(Protocol):
    """Who the person is, as the broker needs it."""

    @property
    def identity(self) -> str | None:
        """What tells this sign-in from every other, where it is in memory."""

    async def wake(self) -> str:
        """The same, out of the store where need be; :class:`LoginRequired` where nobody signed in."""

    async def subject(self, *, fresh: bool = False) -> SubjectToken:
        """The token to show."""


class TokenSource(Protocol):
    """The issuer, as the broker needs it."""

    def is_set_up_for(self, kind: Kind, host: str) -> bool:
        """Whether the person's own configuration gives that host to this issuer."""

    def stands_for(self, kind: Kind, host: str) -> bool:
        """Whether credentials of that kind for that host are this issuer's to give."""

    async def give_back(self, secret: Secret) -> None:
        """What was issued is used no more, and is to end before its time."""

    def known_scope(self, request: CredentialRequest) -> str | None:
        """The scope that a request names or means, where that is known without asking."""

    async def scope(self, subject: SubjectToken, request: CredentialRequest) -> str:
        """The same, looked up; :class:`TargetUnknown` where there is none or more than one."""

    async def derived(self, subject: SubjectToken, request: CredentialRequest) -> Target | None:
        """The target of a request whose credential is made of the scope's own at a cloud, else ``None``."""

    async def token(self, subject: SubjectToken, request: CredentialRequest, *, program: str = "") -> IssuedToken:
        """An issued token for a request."""


@dataclass(frozen=True, slots=True)
class Account:
    """One issuer of this laptop with the person's sign-in there."""

    name: str
    sign_in: SubjectSource
    issuer: TokenSource


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with the lease key it comes to, and the program that asked, for the issuer's trail."""

    key: LeaseKey
    request: CredentialRequest
    program: str


class Broker:
    """All leases of the agent."""

    def __init__(
        self,
        accounts: Mapping[str, Account],
        exchange: Callable[[Kind], Exchange],
        *,
        clock: Clock,
        dice: Callable[[], float],
        skew: ClockSkew,
        problem: ConfigError | None = None,
    ) -> None:
        self._problem = problem
        self._accounts = accounts
        self._exchange = exchange
        self._clock = clock
        self._skew = skew
        self._table = LeaseTable(self.window, dice=dice)
        self._flights: Flights[LeaseKey, Held] = Flights()
        self._asked: dict[LeaseKey, Asked] = {}
        self._sessions: set[str] = set()
        self._rejected: dict[LeaseKey, float] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def warm(self, request: CredentialRequest) -> Held | None:
        """What is held and fresh for ``request``, without waiting for anything: the path of nearly every call."""
        account = self._account_for(request)
        identity, scope = account.sign_in.identity, account.issuer.known_scope(request)
        if identity is None or scope is None:
            return None
        action, held = self._table.ask(_key(account.name, identity, scope, request), self._clock())
        return _shown_to(request, held) if held is not None and action is Action.SERVE else None

    async def lease(self, request: CredentialRequest, *, program: str = "") -> Held:
        """The lease for ``request``; a caller that leaves does not stop what others wait for."""
        account = self._account_for(request)
        identity, scope = await account.sign_in.wake(), account.issuer.known_scope(request)
        if scope is None:
            scope = await account.issuer.scope(await account.sign_in.subject(), request)
        request = replace(request, scope=scope)
        key = _key(account.name, identity, scope, request)
        return _shown_to(request, await self._lease(key, request, program, patience=PATIENCE))

    async def probe(self, request: CredentialRequest, *, program: str) -> None:
        """Have a lease made that nobody gets, and keep nothing of it: the error says why there would be none."""
        account = self._account_for(request)
        key = _key(account.name, await account.sign_in.wake(), request.scope, request)
        before = {held.lease.key for held in self._table}
        # What is made of another lease leaves that one behind, at its cloud.
        others = {replace(key, kind=kind, relying_party=None) for kind in (Kind.AWS, Kind.GOOGLE)}
        try:
            await self._mint(Asked(key, request, program))
        finally:
            for other in others - before:
                self._table.drop(other)
            self._prune()

    async def reject(self, rejection: Rejection) -> None:
        """What was shown was not taken: where it is what is held, that is dropped, and the next caller gets a new one.

        A new one that is not taken either is no accident: then the next callers hear of it, and no third one is shown.
        """
        request = rejection.request
        account = self._account_for(request)
        identity, scope = account.sign_in.identity, account.issuer.known_scope(request)
        if identity is None or scope is None:
            return
        key, now = _key(account.name, identity, scope, request), self._clock()
        held = self._table.valid(key, now)
        credential = held.lease.credential if held is not None else None
        if not isinstance(credential, BasicLogin) or credential.password != rejection.shown:
            return
        self._table.drop(key)
        self._rejected = {k: at for k, at in self._rejected.items() if 0 <= now - at < REJECTED_FOR}
        if key in self._rejected:
            msg = f"{request.host} turns down what it was given for scope '{scope}', twice in a row"
            cure = "try again in a minute; if it stays so, ask whoever runs the issuer"
            self._table.fail(key, RelyingPartyRefused(msg, cure), now)
        self._rejected[key] = now
        self._prune()
        await self._give_back(account, credential.password)

    async def _lease(self, key: LeaseKey, request: CredentialRequest, program: str, *, patience: float | None) -> Held:
        action, held = self._table.ask(key, self._clock())
        if held is not None and action is Action.SERVE:
            return held
        asked = self._asked.setdefault(key, Asked(key, request, program))
        if held is not None and action is Action.RENEW_BEHIND:
            self._flights.begin(key, partial(self._fly, asked))
            return held
        return await self._wait(asked, RENEWAL_PATIENCE if held is not None else patience)

    async def renew_due(self) -> None:
        """Begin the renewals that are due; returns at once."""
        for key in self._table.due(self._clock()):
            asked = self._asked.get(key)
            # A token that is traded elsewhere is asked for once an hour: ahead of need it would be made in vain.
            if asked is not None and not key.untraded:
                self._flights.begin(key, partial(self._fly, asked))
        self._prune()

    async def run(self) -> None:
        """Renew ahead of need until cancelled; sleeps until about the next deadline, and longer while there is none."""
        while True:
            self._changed.clear()
            deadline = self._table.next_deadline()
            pause = None if deadline is None else min(max(deadline - self._clock(), 0.0), LONGEST_PAUSE)
            try:
                await asyncio.wait_for(self._changed.wait(), pause)
            except TimeoutError:
                await self.renew_due()

    def forget(self, issuer: str) -> None:
        """The sign-in at ``issuer`` changed or ended: nothing of it is served any more."""
        self._let_go(self._table.forget(issuer))
        self._prune()

    def begin_session(self, session: str) -> None:
        """From now on there may be leases of this debugging session."""
        self._sessions.add(session)

    def end_session(self, session: str) -> None:
        """Drop its leases; what is in the air for it lands nowhere."""
        self._sessions.discard(session)
        self._let_go(self._table.forget_session(session))
        self._prune()

    def forget_moved(self, issuer: str, clusters: Mapping[str, Cluster]) -> None:
        """The issuer said anew where its clusters are: what was for another place is asked for again."""
        self._table.forget_moved(issuer, clusters)
        self._prune()

    def forgive(self, issuer: str) -> None:
        """Forget what failed: something was done about it."""
        self._table.forgive(issuer)

    def held(self) -> Iterator[Held]:
        """Every lease in memory."""
        return iter(self._table)

    @property
    def flying(self) -> bool:
        """Whether anything is in the air."""
        return len(self._flights) > 0

    async def close(self) -> None:
        """Let what is in the air land, and give back what would outlive this agent."""
        await self._flights.drain(2.0)
        self._let_go(held.lease for held in self._table)
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=2.0)

    def _let_go(self, leases: Iterable[Lease]) -> None:
        """What nobody here serves any more ends at its maker too, where that can be; nobody waits for it."""
        for lease in leases:
            if isinstance(lease.credential, BasicLogin):
                work = self._give_back(self._accounts[lease.key.issuer], lease.credential.password)
                task = asyncio.get_running_loop().create_task(work)
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)

    async def _give_back(self, account: Account, secret: Secret) -> None:
        """An issuer that cannot be asked has a clock of its own, by which it ends."""
        with suppress(JuniperError):
            await account.issuer.give_back(secret)

    async def _wait(self, asked: Asked, patience: float | None) -> Held:
        """Wait for the flight as long as the caller can; on a failure, what is still valid is good enough."""
        try:
            async with asyncio.timeout(patience):
                return await self._flights.join(asked.key, partial(self._fly, asked))
        except TimeoutError:
            held = self._table.valid(asked.key, self._clock())
            if held is not None:
                return held
            msg = f"scope '{asked.request.scope}' is still on its way after {PATIENCE} s"
            raise IssuerUnreachable(msg, "try again in a moment; run: juniper status") from None
        except JuniperError:
            held = self._table.valid(asked.key, self._clock())
            if held is None:
                raise
            return held

    async def _fly(self, asked: Asked) -> Held:
        """One flight: mint, trade, keep; a failure is kept too."""
        try:
            lease = await self._mint(asked)
        except JuniperError as error:
            self._table.fail(asked.key, error, self._clock())
            if self._table.valid(asked.key, self._clock()) is None:
                self._asked.pop(asked.key, None)
            self._changed.set()
            raise
        if self._accounts[asked.key.issuer].sign_in.identity != asked.key.identity:
            # Somebody signed out, or in as another person, while this was in the air.
            self._let_go((lease,))
            msg = "the sign-in changed while the credential was on its way"
            raise IssuerUnreachable(msg, "try again")
        if asked.key.session is not None and asked.key.session not in self._sessions:
            self._let_go((lease,))
            msg = "the debugging session ended while the credential was on its way"
            raise SessionOver(msg)
        held = self._table.put(lease, self._clock())
        self._changed.set()
        return held

    async def _mint(self, asked: Asked) -> Lease:
        try:
            return await self._trade(asked, fresh=False)
        except IssuedTokenExpired:
            pass
        try:
            return await self._trade(asked, fresh=True)
        except IssuedTokenExpired as error:
            if self._skew.complaint is None:
                raise
            raise IssuedTokenExpired(f"{error.message} ({self._skew.complaint})", self._skew.remedy) from None

    async def _trade(self, asked: Asked, *, fresh: bool) -> Lease:
        exchanged = await self._exchanged(asked, fresh=fresh)
        now = self._clock()
        if exchanged.expires_at <= now + self.window(asked.request.kind).margin:
            # The laptop slept while it was on its way.
            msg = "the credential had expired when it arrived"
            raise IssuedTokenExpired(msg)
        return Lease(
            asked.key,
            exchanged.credential,
            issued_at=now,
            expires_at=exchanged.expires_at,
            cluster=exchanged.cluster,
            host=exchanged.host,
        )

    async def _exchanged(self, asked: Asked, *, fresh: bool) -> Exchanged:
        account, exchange = self._accounts[asked.key.issuer], self._exchange(asked.request.kind)
        subject = await account.sign_in.subject(fresh=fresh)
        target = await account.issuer.derived(subject, asked.request)
        if target is None:
            issued = await account.issuer.token(subject, asked.request, program=asked.program)
            return untraded(issued) if asked.request.untraded else await exchange.trade(issued)
        source = replace(
            asked.request, kind=target.made_of, relying_party=None, cluster=None, form="", host="", path=""
        )
        # No tool waits here but a flight, which is joined by those who do; it lasts as long as the other one.
        key = _key(account.name, asked.key.identity, source.scope, source)
        other = await self._lease(key, source, asked.program, patience=None)
        return await cast("Deriving", exchange).derive(other.lease, target, now=self._clock())

    def _account_for(self, request: CredentialRequest) -> Account:
        """The account that a request is for: by its issuer's name, or as the one that stands for its host."""
        if not request.host or self._problem is not None:
            return self._account(request.issuer)
        accounts = self._accounts.values() if request.issuer is None else (self._account(request.issuer),)
        found = [account for account in accounts if account.issuer.is_set_up_for(request.kind, request.host)]
        # What another issuer says of itself takes no host away from the one that the person gave it to.
        found = found or [account for account in accounts if account.issuer.stands_for(request.kind, request.host)]
        if not found:
            msg = f"{request.host} is none of ours"
            raise HostUnknown(msg)
        return found[0]

    def _account(self, name: str | None) -> Account:
        if self._problem is not None:
            raise self._problem
        if name is not None and name in self._accounts:
            return self._accounts[name]
        if name is None and len(self._accounts) == 1:
            return next(iter(self._accounts.values()))
        if name is None and self._accounts:
            msg = f"several issuers are configured: {', '.join(self._accounts)}"
            raise ConfigError(msg, "name one, as in ISSUER/SCOPE")
        msg = f"no issuer '{name}' is configured" if name else "no issuer is configured"
        raise ConfigError(msg)

    def window(self, kind: Kind) -> Window:
        """When leases of that kind are renewed."""
        return self._exchange(kind).window

    def _prune(self) -> None:
        """Requests are kept for renewal as long as their lease, no longer."""
        live = {held.lease.key for held in self._table}
        self._asked = {key: asked for key, asked in self._asked.items() if key in live or key in self._flights}


def _shown_to(request: CredentialRequest, held: Held) -> Held:
    """The lease, unless the caller would show it to another cluster or host: a file of theirs selects, and proves nothing."""
    cluster = held.lease.cluster
    if cluster is not None and request.cluster != cluster:
        shown = request.cluster.server if request.cluster is not None else "no cluster"
        msg = f"scope '{held.lease.key.scope}' is for {cluster.server} with the CA that policy names, not for {shown}"
        raise TargetUnknown(msg, "run: juniper setup kubectl")
    host = held.lease.host
    if host is not None and request.host != host:
        msg = f"scope '{held.lease.key.scope}' is for {host}, not for {request.host or 'no host'}"
        raise TargetUnknown(msg, "try again; if it stays so, ask whoever runs the issuer")
    return held


def _key(issuer: str, identity: str, scope: str, request: CredentialRequest) -> LeaseKey:
    return LeaseKey(
        issuer=issuer,
        identity=identity,
        session=request.session,
        scope=scope,
        kind=request.kind,
        relying_party=request.relying_party,
        project_id=request.project_id,
        environment=request.environment,
        ref=request.ref,
        narrowing=request.narrowing,
        untraded=request.untraded,
    )
