"""A browser as far as HTTP goes, with cookies and redirects; it stops before the loopback, where a test may meddle."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import aiohttp

Meddle = Callable[[str], str]


def query_of(url: str) -> dict[str, str]:
    """The parameters of a link."""
    return dict(parse_qsl(urlsplit(url).query))


def with_query(url: str, **changed: str | None) -> str:
    """The link with some parameters changed; ``None`` takes one away."""
    query = {name: value for name, value in (query_of(url) | changed).items() if value is not None}
    return urlsplit(url)._replace(query=urlencode(query)).geturl()


@dataclass(frozen=True, slots=True)
class Page:
    """What the browser ended up showing."""

    status: int
    text: str


@dataclass(slots=True)
class Hands:
    """One browser and who sits before it."""

    session: aiohttp.ClientSession
    meddle: Meddle = lambda url: url
    before: Callable[[str], Awaitable[None]] | None = None
    """What happens between the provider's answer and the way back; told the link back."""
    links: list[str] = field(default_factory=list)
    callbacks: list[str] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    _open: list[asyncio.Task[None]] = field(default_factory=list)

    async def take(self, url: str) -> None:
        """Follow the link to the provider and through its pages, then go back to the agent."""
        self.links.append(url)
        back = await self.provider(url)
        self.callbacks.append(back)
        if self.before is not None:
            await self.before(back)
        # The page comes when the sign-in has ended, which the caller of this has to listen for.
        self._open.append(asyncio.create_task(self._return(self.meddle(back))))

    async def provider(self, url: str) -> str:
        """Through the provider's redirects and pages; the link back."""
        wanted = query_of(url)["redirect_uri"]
        while not url.startswith(wanted):
            async with self.session.get(url, allow_redirects=False) as got:
                assert got.status in {302, 303}, await got.text()
                url = urljoin(url, got.headers["Location"])
        return url

    async def knock(self, url: str, method: str = "GET", **headers: str) -> Page:
        """One request, whatever comes of it."""
        async with self.session.request(method, url, headers=headers, allow_redirects=False) as got:
            return Page(got.status, await got.text())

    async def rest(self) -> None:
        """Until every page is there."""
        await asyncio.gather(*self._open)

    async def _return(self, url: str) -> None:
        self.pages.append(await self.knock(url))


@contextlib.asynccontextmanager
async def hands(meddle: Meddle = lambda url: url) -> AsyncIterator[Hands]:
    """A fresh browser."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        made = Hands(session, meddle)
        try:
            yield made
        finally:
            await made.rest()
