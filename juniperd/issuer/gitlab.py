"""GitLab's REST API as the issuer reads it: whole lists or nothing, by numeric id, at most a minute old.

What comes back is a value: :class:`Reply`, or :class:`~juniperd.issuer.facts.Trouble` with the reason. Names of
GitLab's things go into queries and never into a path, where a name such as ``..`` would choose another question.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from juniperd.address import host_of
from juniperd.errors import UpstreamAnswer, UpstreamError
from juniperd.http import Answer, Http
from juniperd.issuer.facts import Trouble
from juniperd.model import Clock, Secret

LIFE = 45.0
"""Seconds a reply is used; with the time a decision takes, no fact is older than a minute."""
TIMEOUT = 3.0
PER_PAGE = 100
MAX_PAGES = 50
MAX_REPLIES = 20_000
AT_ONCE = 32
_PAUSE = 5.0
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class Question:
    """One GET: literal words and numeric ids for the path, everything else as parameters."""

    path: tuple[str | int, ...]
    params: tuple[tuple[str, str], ...] = ()
    many: bool = False

    def __str__(self) -> str:
        query = "&".join(f"{k}={v}" for k, v in self.params)
        return "GET /" + "/".join(str(p) for p in self.path) + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True)
class Reply:
    """A decoded answer; ``None`` is GitLab's 404 to a question about one thing. ``at`` is when it was asked for."""

    value: object
    at: float

    @property
    def rows(self) -> list[object]:
        """The rows of a list."""
        return self.value if isinstance(self.value, list) else []


def _doubtful(text: str) -> Trouble:
    return Trouble("gitlab_doubtful", passing=False, text=text)


def _shifted(question: Question) -> Trouble:
    return Trouble("gitlab_doubtful", passing=True, text=f"{question} changed while it was read")


def _late(text: str) -> Trouble:
    return Trouble("gitlab_unreachable", passing=True, text=text)


class Gitlab:
    """A reader of one GitLab: caches replies for :data:`LIFE`, one flight per question, few questions at once."""

    def __init__(self, http: Http, *, url: str, token: Secret, clock: Clock) -> None:
        self._http = http
        self._base = url.rstrip("/") + "/api/v4/"
        self._token = token
        self._clock = clock
        self._replies: dict[Question, Reply] = {}
        self._flights: dict[Question, asyncio.Task[Reply | Trouble]] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._held_until = 0.0
        self._refusals = 0

    async def ask(self, question: Question, *, life: float = LIFE) -> Reply | Trouble:
        """The reply to one question, from memory while it is younger than ``life`` seconds."""
        known = self._replies.get(question)
        if known is not None and 0 <= self._clock() - known.at < life:
            return known
        flight = self._flights.get(question)
        if flight is None:
            flight = asyncio.create_task(self._fly(question))
            self._flights[question] = flight
            flight.add_done_callback(lambda _: self._flights.pop(question, None))
        # A caller that gives up must not take the others' answer with it.
        return await asyncio.shield(flight)

    def use(self, token: Secret) -> None:
        """Ask with another token from now on."""
        self._token = token
        self.forget()

    def forget(self) -> None:
        """Drop every reply: after a denial or a reload the next decision asks anew."""
        self._replies.clear()

    async def _fly(self, question: Question) -> Reply | Trouble:
        started = self._clock()
        async with self._gate:
            found = await (self._list(question) if question.many else self._one(question))
        if isinstance(found, Trouble):
            return found
        reply = Reply(found.value, started)
        self._keep(question, reply)
        return reply

    def _keep(self, question: Question, reply: Reply) -> None:
        self._replies.pop(question, None)
        self._replies[question] = reply
        if len(self._replies) > MAX_REPLIES:
            self._replies.pop(next(iter(self._replies)))

    async def _one(self, question: Question) -> Reply | Trouble:
        answer = await self._get(question, {})
        if isinstance(answer, Trouble):
            return answer
        if answer.status == 404:
            return Reply(None, 0.0)
        return self._decoded(question, answer)

    async def _list(self, question: Question) -> Reply | Trouble:
        """A whole list; one of several pages is read twice, for a row that moves to a page already read is lost."""
        pages = await self._pages(question)
        if isinstance(pages, Trouble):
            return pages
        reply = _complete(question, pages)
        if isinstance(reply, Trouble) or len(pages) == 1:
            return reply
        again = await self._pages(question)
        if isinstance(again, Trouble):
            return again
        return reply if _rows(again) == reply.value else _shifted(question)

    async def _pages(self, question: Question) -> list[_Page] | Trouble:
        pages: list[_Page] = []
        for number in range(1, MAX_PAGES + 1):
            answer = await self._get(question, {"per_page": str(PER_PAGE), "page": str(number)})
            if isinstance(answer, Trouble):
                return answer
            page = self._page(question, answer, number)
            if isinstance(page, Trouble):
                return page
            pages.append(page)
            if not page.following:
                return pages
        return _doubtful(f"{question} has more than {MAX_PAGES} pages")

    def _page(self, question: Question, answer: Answer, number: int) -> _Page | Trouble:
        reply = self._decoded(question, answer)
        if isinstance(reply, Trouble):
            return reply
        if not isinstance(reply.value, list) or (number > 1 and not reply.value):
            return _doubtful(f"page {number} of {question} is no list, or is empty where rows were announced")
        if len(reply.value) > PER_PAGE:
            return _doubtful(f"page {number} of {question} has more rows than were asked for")
        following = _next_page(answer.headers, number)
        if isinstance(following, Trouble):
            return following
        return _Page(reply.value, answer.headers.get("x-total"), following)

    def _decoded(self, question: Question, answer: Answer) -> Reply | Trouble:
        if (trouble := _status_trouble(question, answer.status, host_of(answer.url))) is not None:
            return trouble
        try:
            return Reply(answer.json(), 0.0)
        except UpstreamAnswer:
            # A page of a proxy or of maintenance: no word of GitLab's, so no verdict on anybody.
            return _late(f"{host_of(answer.url)} answered with something that is not JSON")

    async def _get(self, question: Question, paging: Mapping[str, str]) -> Answer | Trouble:
        if self._clock() < self._held_until:
            return _late("GitLab asked for a pause")
        url = self._base + "/".join(str(part) for part in question.path)
        headers = {"PRIVATE-TOKEN": self._token.reveal()}
        params = dict(question.params) | dict(paging)
        try:
            answer = await self._http.request(
                "GET", url, headers=headers, params=params or None, timeout=TIMEOUT, max_bytes=4 * 1024 * 1024
            )
        except UpstreamError as error:
            return _late(error.message)
        if answer.status == 429:
            return self._pause(answer.headers)
        self._refusals = 0
        return answer

    def _pause(self, headers: Mapping[str, str]) -> Trouble:
        """Ask nothing for a while: as long as GitLab says, and longer each time where it says nothing."""
        said = headers.get("Retry-After", "")
        self._refusals += 1
        pause = float(said) if re.fullmatch(r"[0-9]{1,6}", said) else _PAUSE * 2 ** min(self._refusals - 1, 4)
        self._held_until = self._clock() + min(max(pause, 1.0), _LONGEST_PAUSE)
        return _late("GitLab answered 429, too many requests")


def _status_trouble(question: Question, status: int, host: str) -> Trouble | None:
    if status == 200:
        return None
    if status >= 500:
        return _late(f"{host} answered status {status}")
    if 300 <= status < 400:
        return Trouble("moved", passing=False, text=f"{question} was redirected, so it names something that moved")
    if status == 401:
        return Trouble("reader_token", passing=True, text="GitLab refused the issuer's reader token")
    if status in (403, 404):
        return Trouble("hidden", passing=False, text=f"{question} was answered {status}, so it may hide something")
    return _doubtful(f"{question} was answered with status {status}")


_LINK = re.compile(r'<([^<>]*)>\s*;[^,<]*rel="?next"?')


def _next_page(headers: Mapping[str, str], page: int) -> int | Trouble:
    """The next page, 0 at the end; GitLab says so in ``x-next-page`` and in ``Link``, and they must not disagree."""
    said = headers.get("x-next-page")
    link = headers.get("Link")
    if said is None and link is None:
        return _doubtful("a list came without a word on its pages")
    numbers = set()
    if said is not None:
        numbers.add(said.strip())
    if link is not None:
        found = _LINK.search(link)
        numbers.add(parse_qs(urlsplit(found[1]).query).get("page", ["?"])[0] if found else "")
    if numbers == {""}:
        return 0
    return page + 1 if numbers == {str(page + 1)} else _doubtful("a list's pages do not add up")


@dataclass(frozen=True, slots=True)
class _Page:
    """One page of a list: its rows, how many rows the list is said to have, and the number of the next page or 0."""

    rows: list[object]
    total: str | None
    following: int


def _rows(pages: list[_Page]) -> list[object]:
    return [row for page in pages for row in page.rows]


def _complete(question: Question, pages: list[_Page]) -> Reply | Trouble:
    """The list, where its pages agree on its length and no row is there twice in the place of another."""
    rows, totals = _rows(pages), {page.total for page in pages}
    if len(totals) > 1:
        return _shifted(question)
    total = totals.pop()
    if total and total != str(len(rows)):
        return _doubtful(f"{question} announced another number of rows than the {len(rows)} it gave")
    named = [row.get("id", row.get("name")) for row in rows if isinstance(row, dict)]
    known = [name for name in named if isinstance(name, int | str)]
    if len(set(known)) < len(known):
        return _doubtful(f"{question} gave a row twice")
    return Reply(rows, 0.0)
