"""One address for the whole of Google Cloud: the token service, service accounts' credentials, and Cloud Storage."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from juniperd.sandbox.faults import Faults
from juniperd.sandbox.google_cloud import CLOUD_PLATFORM, WORKLOAD_USER, Cloud
from juniperd.sandbox.google_storage import BODY_LIMIT, Storage
from juniperd.sandbox.google_sts import Access, GoogleStsError, Tokens, TokenService
from juniperd.sandbox.listening import Double, Listening

LONGEST: Final = 3600
IAM: Final = "https://www.googleapis.com/auth/iam"
_LIFETIME: Final = re.compile(r"([0-9]{1,9})(?:\.[0-9]{1,9})?s")
_ACTION: Final = ":generateAccessToken"
_DENIED: Final = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."


class GoogleApiError(Exception):
    """A refusal as Google's APIs give it: a status of google.rpc with a text."""

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(text)
        self.code, self.status, self.text = code, status, text


@dataclass(slots=True)
class GoogleDouble(Double):
    """Google Cloud at one loopback address; what is changed in `cloud` holds at once."""

    cloud: Cloud
    tls: ssl.SSLContext | None = None
    clock: Callable[[], float] = time.time
    listening: Listening = field(default_factory=Listening.reserve)
    faults: Faults = field(default_factory=Faults)
    tokens: Tokens = field(init=False)
    sts: TokenService = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = Tokens(self.clock)
        self.sts = TokenService(self.cloud, self.tokens, self.clock, self.tls)

    def app(self) -> web.Application:
        """Every service at its own path."""
        app = web.Application(middlewares=[self.faults.middleware], client_max_size=BODY_LIMIT)
        app.router.add_post("/v1/token", self._token)
        app.router.add_post("/v1/projects/-/serviceAccounts/{account}", self._credentials)
        Storage(self.cloud, self.tokens).routes(app)
        return app

    async def _token(self, request: web.Request) -> web.Response:
        try:
            return web.json_response(await self.sts.exchange(await _parameters(request)))
        except GoogleStsError as problem:
            return web.json_response({"error": problem.code, "error_description": problem.text}, status=400)

    async def _credentials(self, request: web.Request) -> web.Response:
        try:
            return web.json_response(self._account_token(request, await _object(request)))
        except GoogleApiError as problem:
            body = {"code": problem.code, "message": problem.text, "status": problem.status}
            return web.json_response({"error": body}, status=problem.code)

    def _account_token(self, request: web.Request, body: dict[str, Any]) -> dict[str, str]:
        kind, _, shown = request.headers.get("Authorization", "").partition(" ")
        access = self.tokens.find(shown) if kind == "Bearer" else None
        if access is None:
            raise GoogleApiError(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if not access.scopes & {CLOUD_PLATFORM, IAM}:
            raise GoogleApiError(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.")
        account = request.match_info["account"]
        if not account.endswith(_ACTION):
            raise GoogleApiError(404, "NOT_FOUND", "Method not found.")
        account = account.removesuffix(_ACTION)
        seconds, scopes = _lifetime(body), _scopes(body)
        bindings = self.cloud.accounts.get(account)
        if bindings is None:
            raise GoogleApiError(404, "NOT_FOUND", f"Not found; Gaia id not found for email {account}")
        # Nobody here may delegate to anybody, so a chain of delegates has no first link.
        held = any(b.role == WORKLOAD_USER and b.member in access.members for b in bindings)
        if not held or body.get("delegates"):
            raise GoogleApiError(403, "PERMISSION_DENIED", _DENIED)
        made = Access(frozenset({f"serviceAccount:{account}"}), scopes, self.clock() + seconds, account)
        ends = datetime.fromtimestamp(made.ends_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"accessToken": self.tokens.add(made), "expireTime": ends}


async def _parameters(request: web.Request) -> dict[str, str]:
    """The parameters: a form in snake case, or JSON in camel case."""
    if "Authorization" in request.headers:
        raise GoogleStsError("invalid_request", "An Authorization header is not expected for this request")
    if request.content_type == "application/json":
        try:
            said = await _object(request)
        except GoogleApiError:
            raise GoogleStsError("invalid_request", "The body is no JSON object") from None
        return {re.sub(r"[A-Z]", lambda m: f"_{m[0].lower()}", name): str(value) for name, value in said.items()}
    form = await request.post()
    if len(set(form)) != len(form):
        raise GoogleStsError("invalid_request", "A parameter is there twice")
    return {name: str(value) for name, value in form.items()}


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        said = json.loads(await request.read())
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise GoogleApiError(400, "INVALID_ARGUMENT", "Invalid JSON payload received.")
    return said


def _lifetime(body: dict[str, Any]) -> int:
    said = _LIFETIME.fullmatch(str(body.get("lifetime") or f"{LONGEST}s"))
    if said is None or not 0 < int(said[1]) <= LONGEST:
        raise GoogleApiError(400, "INVALID_ARGUMENT", f"The access token lifetime must be at most {LONGEST} seconds.")
    return int(said[1])


def _scopes(body: dict[str, Any]) -> frozenset[str]:
    said = body.get("scope")
    if not isinstance(said, list) or not said or not all(isinstance(one, str) and one for one in said):
        raise GoogleApiError(400, "INVALID_ARGUMENT", "The request's scope must be a list of OAuth scopes.")
    return frozenset(said)
