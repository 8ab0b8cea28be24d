"""GitLab's deploy tokens as the minter makes, lists and deletes them, each answer read strictly.

An error whose ``lost`` is set may stand for a token that exists; after any other there is none.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from juniperd import order as orders
from juniperd.address import host_of
from juniperd.errors import UpstreamAnswer, UpstreamError, UpstreamRefused, UpstreamUnreachable
from juniperd.http import Answer, Http
from juniperd.model import Secret, rfc3339
from juniperd.order import Minted, Order

log = logging.getLogger("juniperd.minter")
TIMEOUT = 4.0
"""Seconds, and fewer than a listener that stops gives its requests: who waits for a token still gets it."""
PER_PAGE = 100
MAX_PAGES = 100
_NEAR = 1.0
"""Seconds by which GitLab's end of a token may differ from what was asked."""
_NOES = frozenset({400, 401, 403, 404, 409, 422})


@dataclass(frozen=True, slots=True)
class Row:
    """One deploy token of a project's list; without an end it lives until somebody deletes it."""

    id: int
    name: str
    expires_at: float | None


class Misfit(UpstreamAnswer):
    """GitLab made a token that is not what was ordered; ``number`` and ``name`` are that token's."""

    def __init__(self, error: UpstreamError, number: int, name: str) -> None:
        super().__init__(error.message, error.remedy, host=error.host, lost=True)
        self.number = number
        self.name = name


class Gitlab:
    """One GitLab, as the minter's account."""

    def __init__(self, http: Http, *, url: str, token: Secret) -> None:
        self._http = http
        self._base = url.rstrip("/") + "/api/v4/projects/"
        self._host = host_of(url)
        self._token = token

    async def make(self, order: Order) -> Minted:
        """The token that was ordered, exactly so; :class:`Misfit` where GitLab said that it made another."""
        asked = {
            "name": order.name,
            "username": order.username,
            "scopes": list(order.scopes),
            "expires_at": rfc3339(order.ends_at),
        }
        answer = await self._call("POST", order.project_id, body=asked)
        if answer.status != 201:
            raise self._failure(answer, order.project_id)
        said = self._json(answer)
        row = said if isinstance(said, dict) else {}
        number = _id(row)
        if number is not None and _fits(row, order):
            return Minted(order.id, number, order.username, Secret(str(row["token"])), order.ends_at)
        doubt = self._doubtful(f"answered order {order.id} with something else than was ordered")
        if number is None:
            raise doubt
        name = row.get("name")
        raise Misfit(doubt, number, name if isinstance(name, str) else "")

    async def delete(self, project_id: int, token_id: int) -> None:
        """Returns once GitLab says that there is no such token, or no more."""
        answer = await self._call("DELETE", project_id, f"/{token_id}")
        if answer.status == 204 or (answer.status == 404 and self._says_gone(answer)):
            return
        raise self._failure(answer, project_id)

    async def end(self, project_id: int, token_id: int, *, name: str) -> None:
        """Returns once there is no such token of this name; one of another name is somebody else's, and stays.

        A GitLab that was restored from a backup gives numbers again.
        """
        found = await self._name(project_id, token_id)
        if found == name:
            await self.delete(project_id, token_id)
        elif found is not None:
            log.warning("project %d: token %d is not '%s' any more, and stays", project_id, token_id, name)

    async def _name(self, project_id: int, token_id: int) -> str | None:
        """The name of this very token, or None where GitLab says that it is gone."""
        answer = await self._call("GET", project_id, f"/{token_id}")
        if answer.status == 404 and self._says_gone(answer):
            return None
        if answer.status != 200:
            raise self._failure(answer, project_id)
        row = _row(self._json(answer))
        if row is None or row.id != token_id:
            raise self._doubtful(f"answered something that is not token {token_id}")
        return row.name

    async def rows(self, project_id: int) -> list[Row]:
        """All deploy tokens of a project, whoever made them."""
        found: list[Row] = []
        for page in range(1, MAX_PAGES + 1):
            # Until a page is empty: a last page that is announced by a header may be announced wrongly.
            params = {"per_page": str(PER_PAGE), "page": str(page)}
            answer = await self._call("GET", project_id, params=params)
            if answer.status != 200:
                raise self._failure(answer, project_id)
            rows = self._json(answer)
            if rows == []:
                return found
            found += self._rows(rows)
        raise self._doubtful(f"has more than {MAX_PAGES * PER_PAGE} deploy tokens in project {project_id}")

    async def _call(
        self,
        method: str,
        project_id: int,
        path: str = "",
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer:
        url = f"{self._base}{project_id}/deploy_tokens{path}"
        headers = {"PRIVATE-TOKEN": self._token.reveal()}
        # Alone: of an order sent into a connection that had died nobody knows whether it arrived.
        return await self._http.request(
            method, url, headers=headers, params=params, json=body, timeout=TIMEOUT, alone=method != "GET"
        )

    def _rows(self, value: object) -> list[Row]:
        rows = [_row(v) for v in value] if isinstance(value, list) else [None]
        kept = [row for row in rows if row is not None]
        if len(kept) != len(rows):
            raise self._doubtful("answered a list of deploy tokens that is none")
        return kept

    def _json(self, answer: Answer) -> object:
        try:
            return answer.json()
        except UpstreamAnswer:
            raise self._doubtful(f"answered status {answer.status} with something that is not JSON") from None

    def _says_gone(self, answer: Answer) -> bool:
        """Whether a 404 is about the token: GitLab says 404 too where the account may not see the project."""
        said = self._json(answer)
        message = said.get("message") if isinstance(said, dict) else None
        return isinstance(message, str) and "project" not in message.lower()

    def _failure(self, answer: Answer, project_id: int) -> UpstreamError:
        text = f"{self._host} answered status {answer.status} about the deploy tokens of project {project_id}"
        if answer.status == 429:
            return UpstreamUnreachable(text, "try again in a minute", host=self._host)
        if answer.status >= 500:
            return UpstreamUnreachable(text, "try again", host=self._host, lost=True)
        if answer.status in _NOES:
            return UpstreamRefused(text, _cure(answer.status, project_id), host=self._host)
        return self._doubtful(f"answered status {answer.status}, which is no answer of GitLab's to this")

    def _doubtful(self, text: str) -> UpstreamAnswer:
        cure = "check [gitlab] url in minter.toml, and what stands before GitLab"
        return UpstreamAnswer(f"{self._host} {text}", cure, host=self._host, lost=True)


def _cure(status: int, project_id: int) -> str:
    if status == 401:
        return "put a token that is still valid, of scope api, into the minter's token_file, and start it again"
    if status in (403, 404):
        return f"make the minter's account Maintainer of project {project_id}, with a token of scope api"
    return "look into GitLab's log for the reason"


def _id(row: Mapping[str, object]) -> int | None:
    value = row.get("id")
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53
    return value if usable and isinstance(value, int) else None


def _row(value: object) -> Row | None:
    row = value if isinstance(value, dict) else {}
    number, name = _id(row), row.get("name")
    return Row(number, name, _moment(row.get("expires_at"))) if number is not None and isinstance(name, str) else None


def _fits(row: Mapping[str, object], order: Order) -> bool:
    """Whether GitLab made what was ordered, and a secret that tools can take."""
    token, scopes, ends_at = row.get("token"), row.get("scopes"), _moment(row.get("expires_at"))
    named = (row.get("name"), row.get("username")) == (order.name, order.username)
    scoped = isinstance(scopes, list) and len(scopes) == len(order.scopes) and all(s in scopes for s in order.scopes)
    ends = ends_at is not None and abs(ends_at - order.ends_at) <= _NEAR
    return named and scoped and ends and isinstance(token, str) and orders.is_secret(token)


def _moment(value: object) -> float | None:
    """ISO 8601 as GitLab prints it; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
