"""A login under way: its flow driven over the network, its code shown to everybody who asks for it.

Joinable: ten callers see one code. Whoever leaves does not end it for the others; the last one to leave does.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from juniperd.address import host_of
from juniperd.errors import (
    ConfigError,
    IssuerError,
    IssuerUnreachable,
    JuniperError,
    LoginDeclined,
    UpstreamUnreachable,
)
from juniperd.identity import Endpoints, Provider, browser, error_of, plug
from juniperd.identity.browser import BrowserClient, Once, browser_flow
from juniperd.identity.device import Answered, Ask, DeviceClient, Flow, Show, Wait, device_flow
from juniperd.jose import SigningKey
from juniperd.loopback import Loopback, Page
from juniperd.model import Secret
from juniperd.token_calls import BAD_PROOF, TokenCalls, code_of, json_of

APP = "Juniper"
REFUSED_FOR = 60.0
"""Seconds for which a no counts for those who only try again: a script must not open page after page."""


@dataclass(frozen=True, slots=True)
class CodeShown:
    """The code, with what asks for it and the host to compare."""

    show: Show
    app: str
    host: str
    identity: str


@dataclass(frozen=True, slots=True)
class LinkShown:
    """The page a person's browser is led to; ``joined`` where somebody else was shown it first, and has opened it."""

    url: str
    app: str
    host: str
    identity: str
    expires_in: float
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nobody has answered yet."""


@dataclass(frozen=True, slots=True)
class Checking:
    """The person has answered; the issuer is being asked."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """How a login ended well."""

    person: str
    user_id: str
    login: str
    identity: str
    ends_at: float


LoginEvent = CodeShown | LinkShown | Waiting | Checking | SignedIn
Tell = Callable[[LoginEvent], None]


class JoinableLogin:
    """One run of a login and everybody who listens to it."""

    def __init__(self, run: Callable[[Tell], Coroutine[Any, Any, SignedIn]]) -> None:
        self._shown: CodeShown | LinkShown | None = None
        self._shown_at = 0.0
        self._ears: set[asyncio.Queue[LoginEvent | None]] = set()
        self._task = asyncio.get_running_loop().create_task(run(self._tell))
        self._task.add_done_callback(self._finished)
        self._left = False

    @property
    def open(self) -> bool:
        """Whether one may still join."""
        return not self._left and not self._task.done()

    async def listen(self, *, joined: bool = False) -> AsyncGenerator[LoginEvent, None]:
        """The code or link that stands, then what happens; the last event is :class:`SignedIn`."""
        ear: asyncio.Queue[LoginEvent | None] = asyncio.Queue()
        if self._shown is not None:
            ear.put_nowait(self._as_it_stands(self._shown))
        self._ears.add(ear)
        if self._task.done():
            # It ended before anybody listened, so nobody is told of it again.
            ear.put_nowait(None)
        try:
            while (event := await ear.get()) is not None:
                yield replace(event, joined=joined) if isinstance(event, LinkShown) else event
            yield self._outcome()
        finally:
            self._ears.discard(ear)
            if not self._ears:
                self.abandon()

    def abandon(self) -> None:
        """End it; those who still listen are told."""
        self._left = True
        self._task.cancel()

    def _outcome(self) -> SignedIn:
        if self._task.cancelled():
            msg = "the sign-in was cut off"
            raise LoginDeclined(msg)
        return self._task.result()

    def _as_it_stands(self, shown: CodeShown | LinkShown) -> CodeShown | LinkShown:
        """The same with the time that is left of it, for who joins late."""
        gone = asyncio.get_running_loop().time() - self._shown_at
        if isinstance(shown, CodeShown):
            return replace(shown, show=replace(shown.show, expires_in=max(shown.show.expires_in - gone, 0.0)))
        return replace(shown, expires_in=max(shown.expires_in - gone, 0.0))

    def _tell(self, event: LoginEvent) -> None:
        if isinstance(event, CodeShown | LinkShown):
            self._shown, self._shown_at = event, asyncio.get_running_loop().time()
        for ear in self._ears:
            ear.put_nowait(event)

    def _finished(self, task: asyncio.Task[SignedIn]) -> None:
        if not task.cancelled():
            # Read, so that a failure nobody listened to is no "exception was never retrieved".
            task.exception()
        for ear in self._ears:
            ear.put_nowait(None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A no, or nobody's answer, to a login: what a caller is told who asks for the same again too soon."""

    flow: str | None
    error: LoginDeclined
    at: float

    def holds(self, flow: str | None, now: float) -> bool:
        """Whether it still answers a login by this flow."""
        return self.flow == flow and 0 <= now - self.at < REFUSED_FOR

    async def told(self, now: float) -> SignedIn:
        """As a login that ends at once."""
        msg = f"{self.error.message}, {now - self.at:.0f} s ago"
        raise LoginDeclined(msg, "run: juniper login --again")


def device_client(provider: Provider, endpoints: Endpoints) -> DeviceClient:
    """The provider as the device flow needs it; a provider without such an endpoint cannot do this."""
    if endpoints.device is None:
        msg = f"{provider.display_name} has no device flow"
        raise ConfigError(msg, "ask whoever runs the issuer to allow the device grant for this client")
    words = plug(provider.kind)
    return DeviceClient(
        endpoints.device,
        endpoints.token,
        provider.device_client_id,
        provider.scopes,
        declined=words.DECLINED,
        expired=words.EXPIRED,
        error=words.error,
        unconfirmed=words.UNCONFIRMED,
    )


class Asker:
    """The provider during one login; ``key`` is what its tokens are to be bound to, where it binds any."""

    def __init__(self, calls: TokenCalls, token_url: str, key: SigningKey | None) -> None:
        self._calls = calls
        self._token_url = token_url
        self._key = key

    async def ask(self, ask: Ask) -> tuple[int, object]:
        """One request of the flow; status 0 where nobody answered, which the flow answers with patience."""
        key = self._key if ask.url == self._token_url else None
        try:
            answer = await self._calls.post(ask.url, ask.form, key=key)
            if key is not None and code_of(answer) == BAD_PROOF:
                # It lists them and takes none of this client: then tokens are bound to nothing, as without the list.
                self._key = None
                answer = await self._calls.post(ask.url, ask.form)
        except UpstreamUnreachable:
            return 0, None
        return answer.status, json_of(answer)


async def device_login(asker: Asker, provider: Provider, client: DeviceClient, *, tell: Tell) -> Mapping[str, object]:
    """Run the device flow; the token endpoint's answer.

    Time passes on the loop's clock, which never jumps, so no poll is early however the wall clock is set.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    flow: Flow = device_flow(client)
    reply: Answered | None = None
    while True:
        try:
            step = flow.send(reply)
        except StopIteration as finished:
            body: Mapping[str, object] = finished.value
            return body
        reply = None
        if isinstance(step, Ask):
            status, document = await asker.ask(step)
            reply = Answered(status, document, loop.time() - started)
        elif isinstance(step, Show):
            tell(CodeShown(step, APP, host_of(step.verification_uri), provider.display_name))
        elif isinstance(step, Wait):
            tell(Waiting())
            await asyncio.sleep(step.seconds)


def browser_client(
    provider: Provider, endpoints: Endpoints, *, declined: frozenset[str], consent: bool = False
) -> BrowserClient:
    """The provider as the browser flow needs it; a provider without such an endpoint cannot do this."""
    if endpoints.authorization is None:
        msg = f"{provider.display_name} has no browser flow"
        raise ConfigError(msg, "run: juniper login --device")
    return BrowserClient(
        provider.issuer,
        endpoints.authorization,
        endpoints.token,
        provider.client_id,
        provider.scopes,
        answers_with_issuer=endpoints.answers_with_issuer,
        declined=declined,
        error=error_of(provider.kind, "browser"),
        consent=consent,
    )


@asynccontextmanager
async def browser_login(
    asker: Asker, provider: Provider, client: BrowserClient, *, nonce: str, max_age: float, tell: Tell
) -> AsyncIterator[Mapping[str, object]]:
    """Run the browser flow; the token endpoint's answer.

    The browser waits to the end of the block, so that its page says how the whole sign-in ended and not half of it.
    """
    once = Once(secrets.token_urlsafe(32), Secret(secrets.token_urlsafe(32)), nonce, max_age)
    async with Loopback(once.state) as door:
        try:
            yield await _browse(asker, provider, browser_flow(client, once), door, tell)
        except JuniperError as error:
            door.answer(_page(error))
            raise
        door.answer(Page.SIGNED_IN)


async def _browse(
    asker: Asker, provider: Provider, flow: browser.Flow, door: Loopback, tell: Tell
) -> Mapping[str, object]:
    reply: object = None
    while True:
        try:
            step = flow.send(reply)
        except StopIteration as finished:
            body: Mapping[str, object] = finished.value
            return body
        reply = None
        if isinstance(step, browser.Listen):
            reply = door.address
        elif isinstance(step, browser.Open):
            tell(LinkShown(step.url, APP, host_of(step.url), provider.display_name, browser.LIMIT))
        elif isinstance(step, browser.Await):
            reply = await door.came(browser.LIMIT)
        elif isinstance(step, Ask):
            reply = Answered(*await asker.ask(step), 0.0)


def _page(error: JuniperError) -> Page:
    """What the browser says of it; the whole story is in the terminal."""
    if isinstance(error, UpstreamUnreachable | IssuerUnreachable):
        return Page.UNREACHABLE
    if isinstance(error, IssuerError):
        return Page.REFUSED
    return Page.DECLINED if isinstance(error, LoginDeclined) else Page.FAILED
