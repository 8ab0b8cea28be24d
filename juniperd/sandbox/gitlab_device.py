"""People's own tokens at the sandbox's GitLab: OAuth's device flow for one public application, refresh, revocation.

Shapes: https://docs.gitlab.com/api/oauth2/#device-authorization-grant-flow. A refresh ends both tokens that it came from.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from juniperd.sandbox.gitlab_pages import device_page, problem_page
from juniperd.sandbox.idp_grants import Clock, DeviceCode, Grants, OAuthError
from juniperd.sandbox.world import Unknown, World

APPLICATION: Final = "juniper-advice"
SCOPE: Final = "read_api"
CODE_LIFE: Final = 300
TOKEN_LIFE: Final = 7200
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
ASK, DENY = "ask", "deny"
_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@dataclass(frozen=True, slots=True)
class Granted:
    """What one person let the application have, until it ends or is renewed."""

    username: str
    access: str
    refresh: str
    made_at: int

    def answer(self) -> dict[str, object]:
        """As the token endpoint says it."""
        return {
            "access_token": self.access,
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFE,
            "refresh_token": self.refresh,
            "scope": SCOPE,
            "created_at": self.made_at,
        }


@dataclass(slots=True)
class PeoplesTokens:
    """`approval` says who signs in and authorizes by themselves, or `ask` for the page, or `deny`."""

    world: World
    url: str
    clock: Clock
    approval: Callable[[], str] = lambda: ASK
    interval: float = 1.0
    grants: Grants = field(init=False)
    held: list[Granted] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.grants = Grants(self.clock, self.interval)

    def routes(self) -> list[web.RouteDef]:
        """All but the token endpoint, which every application shares."""
        return [
            web.post("/oauth/authorize_device", self._start),
            web.get("/oauth/device", self._page),
            web.post("/oauth/device", self._click),
            web.post("/oauth/revoke", self._revoke),
        ]

    def username(self, token: str) -> str | None:
        """Whose access token this is, if it is one and has not ended."""
        now = self.clock()
        found = (one for one in self.held if secrets.compare_digest(one.access.encode(), token.encode()))
        return next((one.username for one in found if now < one.made_at + TOKEN_LIFE), None)

    def takes(self, form: Mapping[str, str]) -> bool:
        """Whether a request at the token endpoint comes from the public application."""
        return form.get("client_id") == APPLICATION and "client_secret" not in form

    def token(self, form: Mapping[str, str]) -> web.Response:
        """The token endpoint's answer to the public application."""
        try:
            granted = self._granted_for(form)
        except OAuthError as error:
            return _error(error)
        self.held.append(granted)
        return web.json_response(granted.answer(), headers=_NO_STORE)

    def _granted_for(self, form: Mapping[str, str]) -> Granted:
        if form.get("grant_type") == DEVICE_GRANT:
            return self._polled(form)
        if form.get("grant_type") == "refresh_token":
            return self._refreshed(form)
        raise OAuthError("unsupported_grant_type", "The authorization grant type is not supported.")

    async def _start(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("client_id") != APPLICATION:
            return _error(OAuthError("invalid_client", "Client authentication failed.", status=401))
        if form.get("scope") != SCOPE:
            return _error(OAuthError("invalid_scope", "The requested scope is invalid, unknown, or malformed."))
        code = self.grants.start_device(APPLICATION, (SCOPE,))
        code.expires_at, code.user_code = self.clock() + CODE_LIFE, code.user_code.replace("-", "")
        page = f"{self.url}/oauth/device"
        answer = {
            "device_code": code.device_code,
            "user_code": code.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={code.user_code}",
            "expires_in": CODE_LIFE,
            "interval": int(code.interval),
        }
        return web.json_response(answer, headers=_NO_STORE)

    def _polled(self, form: Mapping[str, str]) -> Granted:
        code = self.grants.poll(form.get("device_code", ""), APPLICATION)
        decision = self._decision(code)
        if decision is None:
            raise OAuthError("authorization_pending", "The authorization request is still pending.")
        code.used = True
        if not decision:
            raise OAuthError("access_denied", "The resource owner or authorization server denied the request.")
        return self._granted(decision)

    def _decision(self, code: DeviceCode) -> str | None:
        approval = self.approval()
        if code.decision is None and approval != ASK:
            return "" if approval == DENY else approval
        return code.decision

    def _granted(self, username: str) -> Granted:
        try:
            user = self.world.user(username)
        except Unknown:
            raise OAuthError("access_denied", "Nobody of that name has an account.") from None
        if user.state != "active":
            raise OAuthError("access_denied", "The account is not active.")
        return Granted(username, secrets.token_hex(32), secrets.token_hex(32), int(self.clock()))

    def _refreshed(self, form: Mapping[str, str]) -> Granted:
        given = form.get("refresh_token", "").encode()
        found = next((one for one in self.held if secrets.compare_digest(one.refresh.encode(), given)), None)
        if found is None:
            raise OAuthError("invalid_grant", "The provided authorization grant is invalid, expired, or revoked.")
        self.held.remove(found)
        return self._granted(found.username)

    async def _revoke(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("client_id") != APPLICATION:
            denied = "You are not authorized to revoke this token"
            return web.json_response({"error": "unauthorized_client", "error_description": denied}, status=403)
        self.held = [one for one in self.held if form.get("token") not in {one.access, one.refresh}]
        return web.json_response({})

    async def _page(self, request: web.Request) -> web.Response:
        logins = [user.username for user in self.world.users if user.state == "active" and not user.bot]
        page = device_page(request.query.get("user_code", ""), logins)
        return web.Response(text=page, content_type="text/html", headers=_NO_STORE)

    async def _click(self, request: web.Request) -> web.Response:
        form = await request.post()
        code = self.grants.by_user_code(str(form.get("user_code", "")))
        if code is None or code.decision is not None:
            text, status = "This code is unknown or has expired.", 404
        else:
            code.decision = str(form.get("login", "")) if form.get("answer") == "authorize" else ""
            text, status = "You may close this page.", 200
        return web.Response(text=problem_page(text), status=status, content_type="text/html", headers=_NO_STORE)


def _error(error: OAuthError) -> web.Response:
    body = {"error": error.error, "error_description": error.description}
    return web.json_response(body, status=error.status, headers=_NO_STORE)
