"""``/link``: the way of one browser past the identity provider and GitLab to one confirmed link.

Every answer is a page or a redirect that no cache keeps. A step counts with the browser's own cookie alone; the steps
that a person must have meant, the first and the last, count only from the issuer's own pages.
"""

from __future__ import annotations

import hmac
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from juniperd.errors import StateError
from juniperd.issuer import audit, links
from juniperd.issuer.code_flow import CodeFlow, Trip
from juniperd.issuer.config import Identity
from juniperd.issuer.ground import Ground
from juniperd.issuer.inquiry import Inquiry
from juniperd.issuer.limits import Rate
from juniperd.issuer.link_flows import LIFE, Asked, AtGitlab, AtProvider, Done, Flows
from juniperd.issuer.link_pages import POLICY, Page, Pages
from juniperd.issuer.linking import (
    Pair,
    Person,
    account_of,
    gitlab_client,
    person_client,
    person_of,
    rule_broken,
    user_number,
)
from juniperd.issuer.verdict import Refused
from juniperd.model import Secret

log = logging.getLogger("juniperd.issuer")
COOKIE = "__Host-juniper-link"
_LONGEST_FORM = 1024
_RETRY = 60
_LOST = Refused("1", "no_flow", "this browser has no such link under way here, or it took too long; begin again")
_ELSEWHERE = Refused("1", "elsewhere", "this step counts only from the issuer's own page; begin again")
_BUSY = Refused("1", "too_many", "too many requests; try again in a minute", passing=True)
Answer = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class LinkSite:
    """The routes of the page; made only where an identity is linked there."""

    ground: Ground
    code_flow: CodeFlow
    flows: Flows
    inquiry: Inquiry
    by_address: Rate
    throw: Callable[[], str]

    def add_to(self, app: web.Application, path: str) -> None:
        """Serve under ``path``, which ends with ``/link``."""
        app.router.add_get(path, self._answer(self.start), allow_head=False)
        app.router.add_get(f"{path}/begin", self._answer(self.begin), allow_head=False)
        app.router.add_get(f"{path}/idp/{{name}}", self._answer(self.from_provider), allow_head=False)
        app.router.add_get(f"{path}/lost", self._answer(self.lost), allow_head=False)
        app.router.add_get(f"{path}/gitlab", self._answer(self.from_gitlab), allow_head=False)
        app.router.add_get(f"{path}/confirm", self._answer(self.shown), allow_head=False)
        app.router.add_post(f"{path}/confirm", self._answer(self.confirm))

    @property
    def identities(self) -> dict[str, Identity]:
        """Those that are linked here."""
        return {n: i for n, i in self.ground.config.identities.items() if i.link.on_page}

    @property
    def _pages(self) -> Pages:
        parts = urlsplit(self.ground.config.api_url)
        return Pages(parts.netloc, f"{parts.path.rstrip('/')}/link")

    def _answer(self, step: Answer) -> Answer:
        async def answer(request: web.Request) -> web.Response:
            if not self.by_address.spend(request.remote):
                return self._no(_BUSY)
            try:
                return await step(request)
            except StateError as error:
                log.warning("a link was not recorded: %s", error)
                return self._no(Refused("1", "state", "the issuer cannot write; try again in a minute", passing=True))

        return answer

    # --- the steps ----------------------------------------------------------------------------------------------------

    async def start(self, _: web.Request) -> web.Response:
        """What will happen, and a button."""
        return _html(self._pages.start(self.identities.values()))

    async def begin(self, request: web.Request) -> web.Response:
        """Send the browser to the identity provider; only a click on our own page gets here."""
        identity = self.identities.get(_once(request).get("identity", ""))
        if identity is None or request.headers.get("Sec-Fetch-Site") != "same-origin":
            return self._no(_ELSEWHERE)
        started = await self.code_flow.start(person_client(identity))
        if isinstance(started, Refused):
            return self._no(started)
        trip, url = started
        cookie = self.flows.begin(AtProvider(identity, trip))
        return self._no(_BUSY) if cookie is None else _go(url, cookie)

    async def from_provider(self, request: web.Request) -> web.Response:
        """Back from the identity provider: learn who it is, and go on to GitLab."""
        cookie, came = _cookie(request), _once(request)
        stage = self.flows.stage(cookie)
        if not isinstance(stage, AtProvider) or stage.identity.name != request.match_info["name"]:
            return self._stray()
        if (began := self._taken(cookie, stage.trip, came)) is None:
            return self._stray()
        claims = await self.code_flow.finish(stage.trip, came)
        if isinstance(claims, Refused):
            return self._no(claims)
        person = person_of(stage.identity, claims)
        if isinstance(person, Refused):
            return self._no(person)
        return await self._onward(person, rule_broken(stage.identity, claims), began)

    async def from_gitlab(self, request: web.Request) -> web.Response:
        """Back from GitLab: learn which user it is, and show both."""
        cookie, came = _cookie(request), _once(request)
        stage = self.flows.stage(cookie)
        if not isinstance(stage, AtGitlab) or (began := self._taken(cookie, stage.trip, came)) is None:
            return self._stray()
        pair = await self._pair(stage, came)
        if isinstance(pair, Refused):
            return await self._refuse(pair, stage.person)
        if (taken := self.ground.state.read(lambda c: _conflict(c, pair))) is not None:
            return await self._refuse(taken, pair.person, pair.user.id)
        known = self.ground.state.read(lambda c: links.on_page(c, pair.person.who)) is not None
        token = Secret(self.throw())
        after = Done(pair, token, new=False) if known else Asked(pair, token)
        return _go(f"{self._pages.path}/confirm", self.flows.go_on(after, began))

    async def lost(self, _: web.Request) -> web.Response:
        """Where an answer to nobody ends."""
        return self._no(_LOST)

    async def shown(self, request: web.Request) -> web.Response:
        """Both accounts and the button, or the end; looking changes nothing."""
        stage = self.flows.stage(_cookie(request))
        if isinstance(stage, Done):
            return _html(self._pages.done(stage.pair, new=stage.new))
        if not isinstance(stage, Asked):
            return self._no(_LOST)
        # A POST tells where it comes from only where the page's own address may be told to ourselves.
        return _html(self._pages.confirm(stage.pair, stage.token.reveal()), referrer="same-origin")

    async def confirm(self, request: web.Request) -> web.Response:
        """Link the two; a button pressed twice links once and says so once."""
        cookie = _cookie(request)
        stage = self.flows.stage(cookie)
        if not isinstance(stage, Asked | Done):
            return self._no(_LOST)
        if not self._meant(request) or not _same(await _token(request), stage.token.reveal()):
            return self._no(_ELSEWHERE)
        if isinstance(stage, Asked):
            new = await self._link(stage.pair)
            if isinstance(new, Refused):
                self.flows.take(cookie)
                return await self._refuse(new, stage.pair.person, stage.pair.user.id)
            self.flows.settle(cookie, Done(stage.pair, stage.token, new))
        return _go(f"{self._pages.path}/confirm")

    async def _onward(self, person: Person, broken: Refused | None, began: float) -> web.Response:
        """Send a person who is known on to GitLab, unless their sign-in breaks the identity's rule."""
        started = broken or await self.code_flow.start(gitlab_client(self.ground.config))
        if isinstance(started, Refused):
            return await self._refuse(started, person)
        trip, url = started
        return _go(url, self.flows.go_on(AtGitlab(person, trip), began))

    # --- what they are made of ----------------------------------------------------------------------------------------

    def _taken(self, cookie: str, trip: Trip, came: Mapping[str, str]) -> float | None:
        """Take the flow for whoever carries its state, and say when it began; anybody else changes nothing."""
        return self.flows.take(cookie) if _same(came.get("state", ""), trip.state) else None

    def _stray(self) -> web.Response:
        """An answer that is no answer to this browser.

        Its address may hold a code that somebody else's attempt could still use, so it does not stay where the person
        could be talked into copying it.
        """
        return _go(f"{self._pages.path}/lost")

    async def _pair(self, stage: AtGitlab, came: Mapping[str, str]) -> Pair | Refused:
        claims = await self.code_flow.finish(stage.trip, came)
        number = claims if isinstance(claims, Refused) else user_number(claims)
        user = number if isinstance(number, Refused) else account_of(await self.inquiry.user(number))
        return user if isinstance(user, Refused) else Pair(stage.person, user)

    def _meant(self, request: web.Request) -> bool:
        """Whether the browser says that the form was on our own page; one that says nothing is not believed."""
        parts = urlsplit(self.ground.config.api_url)
        ours = request.headers.get("Origin") == f"{parts.scheme}://{parts.netloc}"
        return ours and request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"

    async def _link(self, pair: Pair) -> bool | Refused:
        """Link the two, if GitLab still says of the account what it said before; whether that is new."""
        user = account_of(await self.inquiry.user(pair.user.id))
        if isinstance(user, Refused):
            return user
        now = self.ground.clock()

        def work(connection: sqlite3.Connection) -> bool | Refused:
            made = links.make_on_page(connection, pair.person.who, user=user, now=now)
            if made is True:
                fields = {**_who(pair.person), "user_id": user.id, "user_login": user.login, "basis": links.PAGE}
                audit.append(connection, "link", at=now, fields=fields)
            return made

        return await self.ground.state.write(work)

    async def _refuse(self, refused: Refused, person: Person, user_id: int | None = None) -> web.Response:
        """A no to somebody who is known; it is one event, unless asking again may help."""
        if not refused.passing:
            now = self.ground.clock()
            fields = {**_who(person), "user_id": user_id, "reason": refused.reason}
            await self.ground.state.write(lambda c: audit.append(c, "link_refused", at=now, fields=fields))
        return self._no(refused)

    def _no(self, refused: Refused) -> web.Response:
        log.info("nothing was linked: %s", refused.reason)
        status = 429 if refused is _BUSY else 503 if refused.passing else 403
        retry = _RETRY if refused.passing else None
        return _html(self._pages.refused(refused.text, status=status, retry=retry))


def _who(person: Person) -> dict[str, object]:
    return {"identity": person.who.identity, "subject": person.who.key}


def _conflict(connection: sqlite3.Connection, pair: Pair) -> Refused | None:
    who = pair.person.who
    return links.conflict(connection, identity=who.identity, key=who.key, user_id=pair.user.id)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="surrogatepass"), wanted.encode())


def _cookie(request: web.Request) -> str:
    """The browser's cookie; two of them, or a header that is none, are nobody's."""
    found = [c for header in request.headers.getall("Cookie", []) for c in _cookies(header)]
    return found[0] if len(found) == 1 else ""


def _cookies(header: str) -> list[str]:
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return [value for name, _, value in pairs if name == COOKIE]


def _once(request: web.Request) -> dict[str, str]:
    """The query; one that names a parameter twice has none (RFC 6749 section 3.1)."""
    found = dict(request.query)
    return found if len(found) == len(request.query) else {}


async def _token(request: web.Request) -> str:
    """The form's one field."""
    if request.content_type != "application/x-www-form-urlencoded":
        return ""
    body = await request.read()
    if len(body) > _LONGEST_FORM or not body.startswith(b"token="):
        return ""
    return body.removeprefix(b"token=").decode("ascii", "replace")


def _html(page: Page, *, referrer: str = "no-referrer") -> web.Response:
    headers = {
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": referrer,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    if page.retry is not None:
        headers["Retry-After"] = str(page.retry)
    return web.Response(text=page.text, status=page.status, content_type="text/html", headers=headers)


def _go(url: str, cookie: str | None = None) -> web.Response:
    """On to the next page. ``Lax``: the way back from a provider is another site's link."""
    headers = {"Location": url, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    if cookie is not None:
        headers["Set-Cookie"] = f"{COOKIE}={cookie}; Max-Age={LIFE:.0f}; Path=/; Secure; HttpOnly; SameSite=Lax"
    return web.Response(status=303, headers=headers)
