"""The sandbox's identity provider: OpenID Connect by device and by browser, refresh rotation and revocation.

Discovery 1.0, RFC 8628, RFC 6749, RFC 7636, RFC 9207, RFC 7009. It approves as its `approval` says; a real one asks.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from juniperd.sandbox.faults import Faults
from juniperd.sandbox.idp_codes import Asked, Codes, Session, is_redirect
from juniperd.sandbox.idp_grants import Clock, DeviceCode, Family, Grants, OAuthError
from juniperd.sandbox.idp_pages import activation_page, result_page, sign_in_page
from juniperd.sandbox.listening import Double, Listening
from juniperd.sandbox.signing import SigningKeys

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
CODE_GRANT: Final = "authorization_code"
GRANTS: Final = (DEVICE_GRANT, CODE_GRANT, "refresh_token")
DEVICE_CLIENT: Final = "juniper-device"
BROWSER_CLIENT: Final = "juniper-browser"
LINK_CLIENT: Final = "juniper-link"
CLIENTS: Final = {
    DEVICE_CLIENT: frozenset({DEVICE_GRANT, "refresh_token"}),
    BROWSER_CLIENT: frozenset({CODE_GRANT, "refresh_token"}),
    LINK_CLIENT: frozenset({CODE_GRANT}),
}
WHO_ASKS: Final = {
    BROWSER_CLIENT: "Juniper on this machine asks to sign you in.",
    LINK_CLIENT: "Your team's Juniper issuer asks who you are.",
}
SCOPES: Final = ("openid", "profile", "offline_access")
ID_TOKEN_LIFE: Final = 3600
ASK, DENY = "ask", "deny"
COOKIE: Final = "sandbox_session"
NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@dataclass(frozen=True, slots=True)
class Person:
    """An account at the identity provider."""

    login: str
    subject: str
    name: str


@dataclass(slots=True)
class IdpDouble(Double):
    """The provider. `approval` is a login that approves every sign-in by itself, or `ask`, or `deny`.

    `page` is the one address to which the issuer's link page has codes sent.
    """

    people: dict[str, Person]
    approval: str = "developer"
    clock: Clock = time.time
    interval: float = 1.0
    amr: tuple[str, ...] = ("pwd", "mfa")
    listening: Listening = field(default_factory=Listening.reserve)
    faults: Faults = field(default_factory=Faults)
    keys: SigningKeys = field(default_factory=SigningKeys)
    disabled: set[str] = field(default_factory=set)
    page: str = ""
    grants: Grants = field(init=False)
    codes: Codes = field(init=False)

    def __post_init__(self) -> None:
        self.grants = Grants(self.clock, self.interval)
        self.codes = Codes(self.clock)

    def app(self) -> web.Application:
        """Every endpoint of the provider."""
        app = web.Application(middlewares=[self.faults.middleware], client_max_size=64 * 1024)
        app.add_routes(
            [
                web.get("/.well-known/openid-configuration", self._discovery),
                web.get("/keys", self._jwks),
                web.get("/authorize", self._authorize),
                web.post("/authorize", self._answer),
                web.post("/device/authorize", _oauth(self._device_authorize)),
                web.post("/token", _oauth(self._token)),
                web.post("/revoke", _oauth(self._revoke)),
                web.get("/activate", self._activate),
                web.post("/activate", self._decide),
            ]
        )
        return app

    async def _discovery(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/authorize",
                "authorization_response_iss_parameter_supported": True,
                "code_challenge_methods_supported": ["S256"],
                "device_authorization_endpoint": f"{self.url}/device/authorize",
                "token_endpoint": f"{self.url}/token",
                "revocation_endpoint": f"{self.url}/revoke",
                "grant_types_supported": list(GRANTS),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "scopes_supported": list(SCOPES),
                "id_token_signing_alg_values_supported": ["RS256"],
                "token_endpoint_auth_methods_supported": ["none"],
                "revocation_endpoint_auth_methods_supported": ["none"],
                "claims_supported": [
                    "iss",
                    "sub",
                    "aud",
                    "exp",
                    "iat",
                    "jti",
                    "auth_time",
                    "nonce",
                    "amr",
                    "sid",
                    "name",
                    "preferred_username",
                ],
            }
        )

    async def _jwks(self, _: web.Request) -> web.Response:
        return web.json_response(self.keys.jwks(), headers={"Cache-Control": "public, max-age=60"})

    async def _device_authorize(self, form: dict[str, str]) -> dict[str, object]:
        client_id = _client(form)
        if DEVICE_GRANT not in CLIENTS[client_id]:
            raise OAuthError("unauthorized_client", "this client may not use the device grant")
        scopes = tuple(form.get("scope", "openid").split())
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown:
            raise OAuthError("invalid_scope", f"unknown scope {unknown[0]}")
        code = self.grants.start_device(client_id, scopes)
        page = f"{self.url}/activate"
        return {
            "device_code": code.device_code,
            "user_code": code.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={code.user_code}",
            "expires_in": int(code.expires_at - self.clock()),
            "interval": int(code.interval) or 1,
        }

    async def _token(self, form: dict[str, str]) -> dict[str, object]:
        client_id, grant = _client(form), _needed(form, "grant_type")
        if grant not in GRANTS:
            known = "device_code, authorization_code and refresh_token"
            raise OAuthError("unsupported_grant_type", f"this provider knows {known}")
        if grant not in CLIENTS[client_id]:
            raise OAuthError("unauthorized_client", "this client may not use that grant")
        nonce = ""
        if grant == DEVICE_GRANT:
            family = self._signed_in(self.grants.poll(_needed(form, "device_code"), client_id))
        elif grant == CODE_GRANT:
            _needed(form, "code")
            code = self.codes.redeem(form, client_id)
            family = code.family = self._family(code.session, client_id, code.asked.scopes)
            nonce = code.asked.nonce
        else:
            family = self.grants.spend(_needed(form, "refresh_token"), client_id)
        if family.user in self.disabled:
            family.revoked = True
            raise OAuthError("invalid_grant", "this account is not active")
        return self._tokens(family, nonce)

    def _signed_in(self, code: DeviceCode) -> Family:
        if code.decision is None and self.approval != ASK:
            code.decision = "" if self.approval == DENY else self.approval
        if code.decision is None:
            raise OAuthError("authorization_pending", "nobody has answered yet")
        code.used = True
        if code.decision == "":
            raise OAuthError("access_denied", "the person said no")
        session = Session(code.decision, int(self.clock()), secrets.token_urlsafe(16))
        return self._family(session, code.client_id, code.scopes)

    def _family(self, session: Session, client_id: str, scopes: tuple[str, ...]) -> Family:
        family = Family(session.user, client_id, scopes, session.auth_time, session.sid, self.amr)
        self.grants.families.append(family)
        return family

    def _tokens(self, family: Family, nonce: str) -> dict[str, object]:
        answer: dict[str, object] = {
            "token_type": "Bearer",
            "expires_in": ID_TOKEN_LIFE,
            "access_token": secrets.token_urlsafe(32),
            "scope": " ".join(family.scopes),
        }
        if "openid" in family.scopes:
            answer["id_token"] = self.keys.sign(self.claims(family) | ({"nonce": nonce} if nonce else {}))
        if "offline_access" in family.scopes:
            answer["refresh_token"] = self.grants.new_refresh_token(family)
        return answer

    def claims(self, family: Family) -> dict[str, object]:
        """The ID token of a sign-in at this moment; refreshed ones keep `auth_time` and `sid`, and carry no nonce."""
        person, now = self.people[family.user], int(self.clock())
        claims: dict[str, object] = {
            "iss": self.url,
            "sub": person.subject,
            "aud": family.client_id,
            "iat": now,
            "exp": now + ID_TOKEN_LIFE,
            "jti": f"ID.{secrets.token_urlsafe(16)}",
            "auth_time": family.auth_time,
            "amr": list(family.amr),
            "sid": family.sid,
        }
        if "profile" in family.scopes:
            claims |= {"name": person.name, "preferred_username": person.login}
        return claims

    async def _authorize(self, request: web.Request) -> web.Response:
        """Where a browser is sent; what cannot be trusted with a redirect gets a page (RFC 6749 section 4.1.2.1)."""
        query = request.query
        if len(set(query)) != len(query):
            return _page("A parameter of the link is repeated.", 400)
        if not self._is_redirect(query.get("client_id", ""), query.get("redirect_uri", "")):
            return _page("The link names no client of the browser flow, or not where that client listens.", 400)
        try:
            asked = self.codes.ask(query, SCOPES)
        except OAuthError as problem:
            return self._back(
                query["redirect_uri"],
                query.get("state", ""),
                {"error": problem.error, "error_description": problem.description},
            )
        if self.approval == ASK:
            asks = WHO_ASKS[asked.client_id]
            page = sign_in_page(self.codes.remember(asked), list(self.people), asks)
            return web.Response(text=page, content_type="text/html", headers=NO_STORE)
        return self._decided(request, asked, "" if self.approval == DENY else self.approval)

    def _is_redirect(self, client_id: str, uri: str) -> bool:
        """Whether this client may have codes sent there."""
        if client_id == LINK_CLIENT:
            return bool(uri) and uri == self.page
        return CODE_GRANT in CLIENTS.get(client_id, ()) and is_redirect(uri)

    async def _answer(self, request: web.Request) -> web.Response:
        form = await request.post()
        person, answer = str(form.get("person", "")), str(form.get("answer", ""))
        if answer not in ("approve", "deny") or (answer == "approve" and person not in self.people):
            return _page("Choose a person and approve, or deny.", 400)
        asked = self.codes.questions.pop(str(form.get("question", "")), None)
        if asked is None:
            return _page("This question was answered. Start again with: juniper login --browser", 404)
        return self._decided(request, asked, person if answer == "approve" else "")

    def _decided(self, request: web.Request, asked: Asked, person: str) -> web.Response:
        if not person:
            denied = {"error": "access_denied", "error_description": "the person said no"}
            return self._back(asked.redirect_uri, asked.state, denied)
        cookie, session = self.codes.session(request.cookies.get(COOKIE), person, asked)
        back = self._back(asked.redirect_uri, asked.state, {"code": self.codes.issue(asked, session)})
        back.set_cookie(COOKIE, cookie, httponly=True, samesite="Lax")
        return back

    def _back(self, redirect_uri: str, state: str, answer: dict[str, str]) -> web.Response:
        """The answer through the browser, with who gives it (RFC 9207)."""
        query = answer | ({"state": state} if state else {}) | {"iss": self.url}
        return web.Response(status=303, headers={**NO_STORE, "Location": f"{redirect_uri}?{urlencode(query)}"})

    async def _revoke(self, form: dict[str, str]) -> dict[str, object]:
        self.grants.revoke(_needed(form, "token"), _client(form))
        return {}

    async def _activate(self, request: web.Request) -> web.Response:
        page = activation_page(request.query.get("user_code", ""), list(self.people))
        return web.Response(text=page, content_type="text/html", headers=NO_STORE)

    async def _decide(self, request: web.Request) -> web.Response:
        form = await request.post()
        code = self.grants.by_user_code(str(form.get("user_code", "")))
        person, answer = str(form.get("person", "")), str(form.get("answer", ""))
        if code is None or code.decision is not None:
            return _page("This code is unknown, was answered, or has expired. Start again with: juniper login", 404)
        if answer not in ("approve", "deny") or (answer == "approve" and person not in self.people):
            return _page("Choose a person and approve, or deny.", 400)
        code.decision = person if answer == "approve" else ""
        return _page("Approved. You may close this page." if code.decision else "Denied.", 200)


def _page(text: str, status: int) -> web.Response:
    return web.Response(text=result_page(text), status=status, content_type="text/html", headers=NO_STORE)


def _oauth(
    answer: Callable[[dict[str, str]], Awaitable[dict[str, object]]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """An endpoint that takes a form and gives JSON or an OAuth error."""

    async def handler(request: web.Request) -> web.Response:
        try:
            return web.json_response(await answer(await _form(request)), headers=NO_STORE)
        except OAuthError as problem:
            body = {"error": problem.error, "error_description": problem.description}
            return web.json_response(body, status=problem.status, headers=NO_STORE)

    return handler


async def _form(request: web.Request) -> dict[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "send a form: application/x-www-form-urlencoded")
    form = await request.post()
    for name in form:
        # RFC 6749 section 3.2: parameters must not be included more than once.
        if len(form.getall(name)) > 1:
            raise OAuthError("invalid_request", f"parameter {name} is repeated")
    return {name: str(value) for name, value in form.items()}


def _needed(form: dict[str, str], name: str) -> str:
    value = form.get(name, "")
    if not value:
        raise OAuthError("invalid_request", f"parameter {name} is missing")
    return value


def _client(form: dict[str, str]) -> str:
    client_id = _needed(form, "client_id")
    if client_id not in CLIENTS:
        raise OAuthError("invalid_client", "unknown client", status=401)
    return client_id
