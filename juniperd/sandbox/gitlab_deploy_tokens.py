"""The sandbox GitLab's deploy tokens of projects: made, listed and deleted through the API, and found by their secret.

Shapes and refusals: https://docs.gitlab.com/api/deploy_tokens/. GitLab lets a token in by the second (`expires_at`
against now), but its `expired` only looks at the day; both are so here.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import itertools
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn

from aiohttp import web

from juniperd.sandbox.gitlab_paging import paged
from juniperd.sandbox.idp_grants import Clock
from juniperd.sandbox.world import Project

PREFIX: Final = "gldt-"
SCOPES: Final = (
    "read_repository",
    "read_registry",
    "write_registry",
    "read_package_registry",
    "write_package_registry",
    "read_virtual_registry",
    "write_virtual_registry",
)
LONGEST: Final = 255
_USERNAME: Final = re.compile(r"[a-zA-Z0-9.+_-]+")


@dataclass(frozen=True, slots=True)
class DeployToken:
    """One token; the secret itself is not kept. `expires_at` is in seconds since the epoch, None for never."""

    id: int
    project_id: int
    name: str
    username: str
    scopes: tuple[str, ...]
    expires_at: float | None
    digest: bytes

    def active(self, now: float) -> bool:
        """Whether it lets anybody in at this moment."""
        return self.expires_at is None or self.expires_at >= now


@dataclass(slots=True)
class DeployTokens:
    """Every deploy token there is.

    `project_of` is the project a request names, or raises what GitLab answers to somebody who may not manage its
    tokens.
    """

    project_of: Callable[[web.Request], Project]
    clock: Clock
    rows: list[DeployToken] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def routes(self) -> list[web.RouteDef]:
        """The endpoints below /api/v4."""
        collection = "/api/v4/projects/{id}/deploy_tokens"
        return [
            web.post(collection, self._create),
            web.get(collection, self._list),
            web.get(f"{collection}/{{token_id}}", self._get),
            web.delete(f"{collection}/{{token_id}}", self._delete),
        ]

    def holder(self, username: str, secret: str) -> DeployToken | None:
        """The token that this username and secret let in now; None where GitLab would say 401."""
        digest = _digest(secret)
        found = next((row for row in self.rows if hmac.compare_digest(row.digest, digest)), None)
        if found is None or found.username != username or not found.active(self.clock()):
            return None
        return found

    def add(
        self, project_id: int, scopes: tuple[str, ...], *, name: str, username: str = "", expires_at: float | None
    ) -> tuple[DeployToken, str]:
        """Make a token; it comes with its secret, which is never shown again. No username gets GitLab's own."""
        number, secret = next(self._ids), f"{PREFIX}{secrets.token_urlsafe(15)}"
        login = username or f"gitlab+deploy-token-{number}"
        row = DeployToken(number, project_id, name, login, scopes, expires_at, _digest(secret))
        self.rows.append(row)
        return row, secret

    def row(self, token: DeployToken) -> dict[str, object]:
        """One element of the list, as GitLab prints it now."""
        today = self.clock() // 86_400 * 86_400
        return {
            "id": token.id,
            "name": token.name,
            "username": token.username,
            "expires_at": None if token.expires_at is None else _printed(token.expires_at),
            "scopes": list(token.scopes),
            "revoked": False,
            "expired": token.expires_at is not None and token.expires_at < today,
        }

    async def _create(self, request: web.Request) -> web.Response:
        project, given = self.project_of(request), await _parameters(request)
        name, scopes, username, expires_at = _checked(given)
        token, secret = self.add(project.id, scopes, name=name, username=username, expires_at=expires_at)
        return web.json_response(self.row(token) | {"token": secret}, status=201)

    async def _list(self, request: web.Request) -> web.Response:
        project, now = self.project_of(request), self.clock()
        rows = [row for row in self.rows if row.project_id == project.id]
        if request.query.get("active") == "true":
            rows = [row for row in rows if row.active(now)]
        return paged(request, [self.row(row) for row in rows])

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self.row(self._named(request)))

    async def _delete(self, request: web.Request) -> web.Response:
        self.rows.remove(self._named(request))
        return web.Response(status=204)

    def _named(self, request: web.Request) -> DeployToken:
        project, given = self.project_of(request), request.match_info["token_id"]
        if not (given.isascii() and given.isdecimal()):
            _refuse({"error": "token_id is invalid"})
        for row in self.rows:
            if (row.project_id, row.id) == (project.id, int(given)):
                return row
        raise web.HTTPNotFound(text=json.dumps({"message": "404 Not found"}), content_type="application/json")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _printed(seconds: float) -> str:
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _refuse(body: Mapping[str, str]) -> NoReturn:
    raise web.HTTPBadRequest(text=json.dumps(body), content_type="application/json")


async def _parameters(request: web.Request) -> dict[str, object]:
    """The body, JSON or a form in which a list is `scopes[]`."""
    if request.content_type != "application/json":
        form = await request.post()
        given: dict[str, object] = {key: str(value) for key, value in form.items() if key != "scopes[]"}
        return given | ({"scopes": form.getall("scopes[]")} if "scopes[]" in form else {})
    try:
        body = await request.json()
    except ValueError:
        _refuse({"error": "message body does not match declared format"})
    return body if isinstance(body, dict) else {}


def _checked(given: Mapping[str, object]) -> tuple[str, tuple[str, ...], str, float | None]:
    """Name, scopes, username and end; first what the API's parameters say, then the model, as GitLab does."""
    missing = [name for name in ("name", "scopes") if given.get(name) is None]
    if missing:
        _refuse({"error": ", ".join(f"{name} is missing" for name in missing)})
    scopes = _scopes(given["scopes"])
    expires_at = _moment(given.get("expires_at"))
    name, username = str(given["name"]), given.get("username")
    problems = []
    if not scopes:
        problems.append("Scopes can't be blank")
    if username is not None and len(str(username)) > LONGEST:
        problems.append(f"Username is too long (maximum is {LONGEST} characters)")
    if username is not None and not _USERNAME.fullmatch(str(username)):
        problems.append("Username can contain only letters, digits, '_', '-', '+', and '.'")
    if len(name) > LONGEST:
        problems.append(f"Name is too long (maximum is {LONGEST} characters)")
    if problems:
        _refuse({"message": _sentence(problems)})
    return name, scopes, "" if username is None else str(username), expires_at


def _scopes(given: object) -> tuple[str, ...]:
    """A list, or names between commas; in GitLab's own order."""
    asked = given.split(",") if isinstance(given, str) else given
    if not isinstance(asked, list):
        _refuse({"error": "scopes is invalid"})
    if not all(scope in SCOPES for scope in asked):
        _refuse({"error": "scopes does not have a valid value"})
    return tuple(scope for scope in SCOPES if scope in asked)


def _moment(given: object) -> float | None:
    """Seconds since the epoch of an ISO 8601 time; without an offset it is UTC."""
    if given in (None, ""):
        return None
    try:
        moment = dt.datetime.fromisoformat(str(given))
    except ValueError:
        _refuse({"error": "expires_at is invalid"})
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def _sentence(problems: list[str]) -> str:
    """Several complaints in one line, with the commas of Rails."""
    if len(problems) < 3:
        return " and ".join(problems)
    return f"{', '.join(problems[:-1])}, and {problems[-1]}"
