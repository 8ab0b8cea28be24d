"""The table of leases: what is held, what is due, what failed a moment ago. No I/O, no tasks, time is passed in.

Its cost grows with live leases only: one deadline per lease in a heap, nothing is polled.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from juniperd.errors import GrantRefused, JuniperError, LoginRequired, RelyingPartyRefused, SubjectRejected
from juniperd.freshness import Freshness, Window, freshness, must_wait
from juniperd.model import Cluster, Kind, Lease, LeaseKey

TRANSIENT_MEMORY = 5.0
REFUSAL_MEMORY = 30.0
"""Seconds a failure answers for itself, so that a loop of calls is no storm upstream."""
IDLE = 3600.0
"""Seconds without a caller after which a lease is no longer renewed but dropped."""
LONGEST_BACKOFF = 60.0
MAX_FAILURES = 1024
MINUTE = 60.0
"""Seconds in which answers are counted, and between two renewals for their number alone."""


class Action(Enum):
    """What is to be done for a caller."""

    SERVE = "serve"
    RENEW_BEHIND = "serve, and renew behind the answer"
    WAIT = "wait for the renewal, else serve what is still valid"
    RENEW = "nothing valid is held"


@dataclass(slots=True)
class Held:
    """A lease with what the table knows of it; ``replies`` are its rendered bytes by helper and form.

    ``shows`` are its answers since ``counted_from``; ``doubted_at`` is when there were last too many, and
    ``doubtful`` whether nobody was asked since.
    """

    lease: Lease
    jitter: float
    asked_at: float
    deadline: float
    failures: int = 0
    problem: JuniperError | None = None
    shows: int = 0
    counted_from: float = 0.0
    doubted_at: float = -math.inf
    doubtful: bool = False
    replies: dict[tuple[str, str], bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong for a key, and until when that is answer enough."""

    error: JuniperError
    until: float


def is_refusal(error: JuniperError) -> bool:
    """Whether somebody said no, as opposed to not answering: a refusal ends a lease, an outage does not."""
    return isinstance(error, GrantRefused | SubjectRejected | RelyingPartyRefused | LoginRequired)


class LeaseTable:
    """Every lease of the agent. ``dice`` answers the jitter of a new lease, 0 to 1."""

    def __init__(self, windows: Callable[[Kind], Window], *, dice: Callable[[], float]) -> None:
        self._windows = windows
        self._dice = dice
        self._held: dict[LeaseKey, Held] = {}
        self._failures: dict[LeaseKey, Failure] = {}
        self._deadlines: list[tuple[float, int, LeaseKey]] = []
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Held]:
        return iter(self._held.values())

    def ask(self, key: LeaseKey, now: float) -> tuple[Action, Held | None]:
        """A caller wants ``key``; raises the remembered failure where nothing valid is held."""
        held = self._held.get(key)
        state = Freshness.EXPIRED if held is None else self._state(held, now)
        failure = self._remembered(key, now)
        if held is None or state is Freshness.EXPIRED:
            if failure is not None:
                raise failure.error
            return Action.RENEW, None
        held.asked_at = now
        window = self._windows(key.kind)
        if failure is None and _is_doubtful(held, window, now):
            return Action.WAIT, held
        if state is Freshness.FRESH or failure is not None:
            return Action.SERVE, held
        if must_wait(now=now, expires_at=held.lease.expires_at, window=window):
            return Action.WAIT, held
        return Action.RENEW_BEHIND, held

    def put(self, lease: Lease, now: float) -> Held:
        """A lease came in; it takes the old one's place and keeps its record of callers."""
        old = self._held.get(lease.key)
        self._failures.pop(lease.key, None)
        held = Held(lease, self._dice(), asked_at=old.asked_at if old else now, deadline=0.0)
        held.doubted_at = old.doubted_at if old else -math.inf
        self._held[lease.key] = held
        self._schedule(held, self._renewal_time(held))
        return held

    def fail(self, key: LeaseKey, error: JuniperError, now: float) -> None:
        """Getting ``key`` failed: a refusal drops what is held, an outage is tried again ever more slowly."""
        refused = is_refusal(error)
        self._remember(key, Failure(error, now + (REFUSAL_MEMORY if refused else TRANSIENT_MEMORY)), now)
        held = self._held.get(key)
        if held is None:
            return
        if refused:
            del self._held[key]
            return
        held.problem = error
        held.doubtful = False
        held.failures += 1
        pause = min(TRANSIENT_MEMORY * 2.0 ** (held.failures - 1), LONGEST_BACKOFF)
        self._schedule(held, now + pause)

    def valid(self, key: LeaseKey, now: float) -> Held | None:
        """What may still be served, however stale."""
        held = self._held.get(key)
        return held if held is not None and self._state(held, now) is not Freshness.EXPIRED else None

    def drop(self, key: LeaseKey) -> None:
        """Nothing of ``key`` is served any more; the next caller gets a new one."""
        self._held.pop(key, None)

    def forget(self, issuer: str) -> list[Lease]:
        """Drop all leases and failures of one issuer: its sign-in changed. What was held comes back."""
        gone = [held.lease for held in self if held.lease.key.issuer == issuer]
        self._held = {key: held for key, held in self._held.items() if key.issuer != issuer}
        self.forgive(issuer)
        return gone

    def forget_moved(self, issuer: str, clusters: Mapping[str, Cluster]) -> None:
        """Drop the leases for clusters that are elsewhere now, or known by another CA; ``clusters`` is by scope."""

        def stays(lease: Lease) -> bool:
            here = clusters.get(lease.key.scope, lease.cluster)
            return lease.key.issuer != issuer or lease.cluster is None or lease.cluster == here

        self._held = {key: held for key, held in self._held.items() if stays(held.lease)}

    def forget_session(self, session: str) -> list[Lease]:
        """Drop all leases and failures of one debugging session. What was held comes back."""
        gone = [held.lease for held in self if held.lease.key.session == session]
        self._held = {key: held for key, held in self._held.items() if key.session != session}
        self._failures = {key: failure for key, failure in self._failures.items() if key.session != session}
        return gone

    def forgive(self, issuer: str) -> None:
        """Forget the failures of one issuer."""
        self._failures = {key: failure for key, failure in self._failures.items() if key.issuer != issuer}

    def due(self, now: float) -> list[LeaseKey]:
        """The keys to renew at ``now``; what is expired or idle is dropped instead."""
        renew: list[LeaseKey] = []
        for held in self._reached(now):
            key = held.lease.key
            if self._state(held, now) is Freshness.EXPIRED or now - held.asked_at >= IDLE:
                del self._held[key]
            else:
                renew.append(key)
                # Looked at again when it ends, unless the renewal moves the deadline first.
                self._schedule(held, held.lease.expires_at)
        return renew

    def next_deadline(self) -> float | None:
        """When :meth:`due` has something to say, or ``None``."""
        while self._deadlines and not self._current(self._deadlines[0]):
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def _reached(self, now: float) -> list[Held]:
        reached: list[Held] = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _deadline, _number, key = heapq.heappop(self._deadlines)
            # Taken: a second entry of the same moment, left by an earlier schedule, is no longer current.
            self._held[key].deadline = math.inf
            reached.append(self._held[key])
        return reached

    def _current(self, entry: tuple[float, int, LeaseKey]) -> bool:
        held = self._held.get(entry[2])
        return held is not None and held.deadline == entry[0]

    def _schedule(self, held: Held, deadline: float) -> None:
        held.deadline = deadline
        heapq.heappush(self._deadlines, (deadline, next(self._count), held.lease.key))
        if len(self._deadlines) > 2 * len(self._held) + 16:
            self._deadlines = [(h.deadline, next(self._count), key) for key, h in self._held.items()]
            heapq.heapify(self._deadlines)

    def _renewal_time(self, held: Held) -> float:
        """The moment at which :func:`freshness` first says stale."""
        lease, window = held.lease, self._windows(held.lease.key.kind)
        life = max(lease.expires_at - lease.issued_at, 0.0)
        return lease.expires_at - min(window.renew_ahead + held.jitter * life / 10, life / 2)

    def _state(self, held: Held, now: float) -> Freshness:
        lease = held.lease
        return freshness(
            now=now,
            issued_at=lease.issued_at,
            expires_at=lease.expires_at,
            window=self._windows(lease.key.kind),
            jitter=held.jitter,
        )

    def _remembered(self, key: LeaseKey, now: float) -> Failure | None:
        failure = self._failures.get(key)
        # A clock that was set back must not make a refusal last longer.
        if failure is not None and not now < failure.until <= now + REFUSAL_MEMORY:
            del self._failures[key]
            return None
        return failure

    def _remember(self, key: LeaseKey, failure: Failure, now: float) -> None:
        if len(self._failures) >= MAX_FAILURES:
            self._failures = {k: f for k, f in self._failures.items() if f.until > now}
        if len(self._failures) >= MAX_FAILURES:
            del self._failures[next(iter(self._failures))]
        self._failures[key] = failure


def _is_doubtful(held: Held, window: Window, now: float) -> bool:
    """Whether a tool asks so often that what it gets may not be taken where it is shown, which not every tool says."""
    if not window.shows:
        return False
    if not 0 <= now - held.counted_from < MINUTE:
        held.shows, held.counted_from = 0, now
    held.shows += 1
    if held.shows > window.shows and not 0 <= now - held.doubted_at < MINUTE:
        held.doubtful, held.doubted_at = True, now
    return held.doubtful
