"""The issuer's way to the minter: orders signed and sent, and what must end told to it until it has ended.

The issuer cannot make or delete a deploy token: it has no such right at GitLab. What it orders it signs with its own
keys, as something that no relying party takes for a token.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from juniperd.address import host_of
from juniperd.errors import JuniperError, UpstreamAnswer, UpstreamError
from juniperd.http import Answer, Http
from juniperd.issuer import orders
from juniperd.issuer.ground import Ground
from juniperd.issuer.keys import Keys
from juniperd.issuer.orders import Entry
from juniperd.issuer.verdict import Refused
from juniperd.order import CONTENT_TYPE, PATH, TYPE, Act, Minted, Order, minted

log = logging.getLogger("juniperd.issuer")
PATIENCE = 6.0
"""Seconds the minter has for one order: a tool waits for the answer."""
LOOK_AGAIN = 60.0
"""Seconds between two looks at what must end, and between two tries at most."""
_LONGEST_ANSWER = 16 * 1024
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class _Try:
    """When an order is sent again, and after how long a pause."""

    at: float
    pause: float


class Minting:
    """Asks the minter; :meth:`run` is what wakes when something must end."""

    def __init__(self, ground: Ground, http: Http, *, keys: Callable[[], Keys]) -> None:
        self._issuer_url = ground.config.url
        self._url = ground.config.minter
        self._state = ground.state
        self._clock = ground.clock
        self._http = http
        self._keys = keys
        self._changed = asyncio.Event()
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._tries: dict[str, _Try] = {}
        self._dropped: dict[str, str] = {}
        self._asked: set[str] = set()

    async def mint(self, order: Order) -> Minted | Refused:
        """The token that was ordered, or why there is none; after a failure it may exist all the same."""
        self._asked.add(order.id)
        try:
            answer = await self._send(order)
            if answer.status == 403:
                return Refused("mint", "minter_refused", _not_made(order))
            if answer.status not in (200, 201):
                raise _unexpected(answer)
            token = minted(answer.json(), order, host_of(answer.url))
            if token.ends_at <= self._clock():
                msg = f"{host_of(answer.url)} answered with a deploy token that has ended"
                raise UpstreamAnswer(msg, "set both machines' clocks")
        except UpstreamError as error:
            return Refused("mint", "minter_late", error.message, passing=True)
        finally:
            self._asked.discard(order.id)
        return token

    def look(self) -> None:
        """Something must end."""
        self._changed.set()

    def drop(self, number: str, cause: str) -> None:
        """Have an order ended that nobody waits for any more, whatever state it is in by then."""
        self._dropped[number] = cause
        self.look()

    async def run(self) -> None:
        """End what must end, until cancelled."""
        while True:
            self._changed.clear()
            pause = await self.once()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)

    async def once(self) -> float:
        """Tell the minter what must end and is due; the seconds until there is more to do."""
        try:
            await self.settle()
            waiting = self._state.read(lambda c: orders.ending(c, self._clock()))
            # What the minter is carrying out now is ended once it has answered, and not before.
            waiting = [entry for entry in waiting if entry.id not in self._asked]
            self._tries = {e.id: self._tries[e.id] for e in waiting if e.id in self._tries}
            await asyncio.gather(*(self._end(entry) for entry in waiting if self._left(entry) <= 0))
            return min((self._left(e) for e in waiting if e.id in self._tries), default=LOOK_AGAIN)
        except JuniperError as error:  # a disk or a CA file that is mended gets another look
            log.warning("what must end cannot be ended now (%s)", error)
            return LOOK_AGAIN

    async def settle(self) -> None:
        """Write down what was dropped."""
        dropped = dict(self._dropped)
        if dropped:
            await self._state.write(lambda c: [orders.end(c, number, cause) for number, cause in dropped.items()])
        for number in dropped:
            self._dropped.pop(number, None)

    def _left(self, entry: Entry) -> float:
        """Seconds until an order is sent again; a clock that was set back puts nothing off."""
        tried = self._tries.get(entry.id)
        left = 0.0 if tried is None else tried.at - self._clock()
        return 0.0 if tried is None or left > tried.pause else left

    async def _end(self, entry: Entry) -> None:
        try:
            async with self._gate:
                answer = await self._send(Order(entry.id, Act.END, entry.project_id))
            if answer.status not in (200, 204):
                raise _unexpected(answer)
        except UpstreamError as error:
            tried = self._tries.get(entry.id)
            pause = 1.0 if tried is None else min(2 * tried.pause, LOOK_AGAIN)
            self._tries[entry.id] = _Try(self._clock() + pause, pause)
            log.warning("the deploy token of order %s is not ended yet (%s)", entry.id, error.message)
            return
        now = self._clock()
        await self._state.write(lambda c: orders.ended(c, entry, now))
        self._tries.pop(entry.id, None)

    async def _send(self, order: Order) -> Answer:
        if self._url is None:
            raise UpstreamError("no minter is configured", "add [minter] url to issuer.toml")
        now = self._clock()
        signed = self._keys().signer(now).sign(order.claims(self._issuer_url, now=now), typ=TYPE)
        return await self._http.request(
            "POST",
            self._url + PATH,
            headers={"Content-Type": CONTENT_TYPE},
            body=signed.encode(),
            timeout=PATIENCE,
            max_bytes=_LONGEST_ANSWER,
        )


def _unexpected(answer: Answer) -> UpstreamAnswer:
    host = host_of(answer.url)
    return UpstreamAnswer(f"{host} answered status {answer.status}", host=host)


def _not_made(order: Order) -> str:
    """The minter's no without its own words: it was given neither the project, nor perhaps the right to push."""
    project = f"project {order.project_id}"
    if any(scope.startswith("write_") for scope in order.scopes):
        return f"the minter makes no tokens in {project}, or none that push; ask who runs it: projects, may_write"
    return f"the minter makes no tokens in {project}; ask who runs it to add that to its list"
