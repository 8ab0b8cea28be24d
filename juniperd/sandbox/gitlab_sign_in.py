"""The sandbox's GitLab as an OpenID provider: one confidential application, authorization code with PKCE.

The discovery document and the key set are those of jobs' ID tokens as well (`ci_tokens`).

Shapes: https://docs.gitlab.com/integration/openid_connect_provider/ and
https://docs.gitlab.com/api/oauth2/. GitLab names users by `sub`, lets ID tokens live two minutes, sends
`auth_time`, reads `prompt=login`, and does not name itself in the answer (RFC 9207).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlencode

from aiohttp import web

from juniperd.sandbox.gitlab_device import PeoplesTokens
from juniperd.sandbox.gitlab_pages import authorize_page, problem_page
from juniperd.sandbox.idp_grants import Clock
from juniperd.sandbox.signing import SigningKeys
from juniperd.sandbox.world import User, World

APPLICATION: Final = "juniper-issuer"
ASK: Final = "ask"
CODE_LIFE: Final = 600.0
ID_TOKEN_LIFE: Final = 120
COOKIE: Final = "_gitlab_session"
NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Application:
    """An application registered by an administrator: its secret, and the one address that codes are sent to."""

    secret: str
    redirect_uri: str
    client_id: str = APPLICATION


@dataclass(frozen=True, slots=True)
class _Asked:
    state: str
    nonce: str
    challenge: str
    anew: bool


@dataclass(frozen=True, slots=True)
class _Code:
    asked: _Asked
    user_id: int
    expires_at: float


@dataclass(slots=True)
class GitLabSignIn:
    """`approval` is a login that signs in and authorizes by itself, or `ask` for the page."""

    world: World
    url: str
    clock: Clock
    people: PeoplesTokens
    application: Application | None = None
    approval: str = ASK
    _keys: SigningKeys | None = None
    _questions: dict[str, _Asked] = field(default_factory=dict)
    _codes: dict[str, _Code] = field(default_factory=dict)
    _sessions: dict[str, int] = field(default_factory=dict)
    _signed_in_at: dict[int, int] = field(default_factory=dict)

    @property
    def keys(self) -> SigningKeys:
        """Made when first needed, for most sandboxes never sign anybody in here."""
        self._keys = self._keys or SigningKeys()
        return self._keys

    def routes(self) -> list[web.RouteDef]:
        """Everything outside of /api."""
        return [
            web.get("/.well-known/openid-configuration", self._discovery),
            web.get("/oauth/discovery/keys", self._jwks),
            web.get("/oauth/authorize", self._authorize),
            web.post("/oauth/authorize", self._answer),
            web.post("/oauth/token", self._token),
            *self.people.routes(),
        ]

    async def _discovery(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/oauth/authorize",
                "token_endpoint": f"{self.url}/oauth/token",
                "revocation_endpoint": f"{self.url}/oauth/revoke",
                "jwks_uri": f"{self.url}/oauth/discovery/keys",
                "scopes_supported": ["api", "read_api", "read_user", "openid", "profile", "email"],
                "response_types_supported": ["code"],
                "response_modes_supported": ["query", "fragment", "form_post"],
                "grant_types_supported": ["authorization_code", "client_credentials", "device_code", "refresh_token"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["plain", "S256"],
                "claims_supported": ["iss", "sub", "aud", "exp", "iat", "sub_legacy", "name", "nickname", "profile"],
            }
        )

    async def _jwks(self, _: web.Request) -> web.Response:
        return web.json_response(self.keys.jwks())

    # --- the browser --------------------------------------------------------------------------------------------------

    async def _authorize(self, request: web.Request) -> web.Response:
        query, known = request.query, self.application
        if known is None or query.get("client_id") != known.client_id:
            return _page("Client authentication failed due to unknown client.", 401)
        if query.get("redirect_uri") != known.redirect_uri or len(set(query)) != len(query):
            return _page("The redirect URI included is not valid.", 400)
        asked = _asked(query)
        if isinstance(asked, str):
            return self._back(query.get("state", ""), {"error": asked})
        user = self._user(request, asked)
        if user is not None:
            return self._decided(asked, user)
        number = secrets.token_urlsafe(16)
        self._questions[number] = asked
        logins = [u.username for u in self.world.users if u.state == "active" and not u.bot]
        return web.Response(text=authorize_page(number, logins), content_type="text/html", headers=NO_STORE)

    def _user(self, request: web.Request, asked: _Asked) -> User | None:
        """Who needs no page: whom a drill named, or who is signed in and was not asked to do it anew."""
        if self.approval != ASK:
            return self.world.user(self.approval)
        session = self._sessions.get(request.cookies.get(COOKIE, ""))
        return None if session is None or asked.anew else self.world.user(session)

    async def _answer(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self._questions.pop(str(form.get("question", "")), None)
        if asked is None:
            return _page("This page was answered. Begin again.", 404)
        if form.get("answer") != "authorize":
            denied = "The resource owner or authorization server denied the request."
            return self._back(asked.state, {"error": "access_denied", "error_description": denied})
        user = next((u for u in self.world.users if u.username == form.get("login")), None)
        if user is None or user.state != "active":
            return _page("Invalid login or password.", 403)
        return self._decided(asked, user, anew=True)

    def _decided(self, asked: _Asked, user: User, *, anew: bool = False) -> web.Response:
        if anew or asked.anew or user.id not in self._signed_in_at:
            self._signed_in_at[user.id] = int(self.clock())
        code, session = secrets.token_hex(32), secrets.token_hex(16)
        self._codes[code] = _Code(asked, user.id, self.clock() + CODE_LIFE)
        self._sessions[session] = user.id
        back = self._back(asked.state, {"code": code})
        back.set_cookie(COOKIE, session, httponly=True, samesite="Lax")
        return back

    def _back(self, state: str, answer: dict[str, str]) -> web.Response:
        uri = self.application.redirect_uri if self.application else ""
        location = f"{uri}?{urlencode(answer | ({'state': state} if state else {}))}"
        return web.Response(status=302, headers={**NO_STORE, "Location": location})

    # --- the application ----------------------------------------------------------------------------------------------

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if self.people.takes(form):
            return self.people.token(form)
        known = self.application
        if known is None or not hmac.compare_digest(*map(str.encode, (_credentials(request, form), _pair(known)))):
            return _error("invalid_client", 401)
        if form.get("grant_type") != "authorization_code":
            return _error("unsupported_grant_type", 400)
        code = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        good = code is not None and self.clock() < code.expires_at and challenge == code.asked.challenge
        if code is None or not good or form.get("redirect_uri") != known.redirect_uri:
            return _error("invalid_grant", 400)
        user = self.world.user(code.user_id)
        if user.state != "active":
            return _error("invalid_grant", 400)
        answer = {
            "access_token": secrets.token_hex(32),
            "token_type": "Bearer",
            "expires_in": 7200,
            "refresh_token": secrets.token_hex(32),
            "scope": "openid",
            "created_at": int(self.clock()),
            "id_token": self.keys.sign(self.claims(user, code.asked.nonce)),
        }
        return web.json_response(answer, headers=NO_STORE)

    def claims(self, user: User, nonce: str) -> dict[str, object]:
        """The ID token of a user at this moment."""
        now = int(self.clock())
        claims: dict[str, object] = {
            "iss": self.url,
            "sub": str(user.id),
            "aud": APPLICATION,
            "exp": now + ID_TOKEN_LIFE,
            "iat": now,
            "auth_time": self._signed_in_at.get(user.id, now),
            "sub_legacy": hashlib.sha256(f"{user.id}-sandbox".encode()).hexdigest(),
            "name": user.name,
            "nickname": user.username,
            "preferred_username": user.username,
            "profile": f"{self.url}/{user.username}",
            "groups_direct": [],
        }
        return claims | ({"nonce": nonce} if nonce else {})


def _asked(query: Mapping[str, str]) -> _Asked | str:
    """What a link asks for, or GitLab's word for what is wrong with it."""
    if query.get("response_type") != "code":
        return "unsupported_response_type"
    if query.get("scope") != "openid":
        return "invalid_scope"
    challenge = query.get("code_challenge", "")
    if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        return "invalid_request"
    anew = "login" in query.get("prompt", "").split()
    return _Asked(query.get("state", ""), query.get("nonce", ""), challenge, anew)


def _pair(application: Application) -> str:
    return f"{application.client_id}:{application.secret}"


def _credentials(request: web.Request, form: Mapping[str, str]) -> str:
    """The client's id and secret, from the header first (RFC 6749 section 2.3.1)."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Basic":
        return f"{form.get('client_id', '')}:{form.get('client_secret', '')}"
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return ""
    return f"{unquote(name)}:{unquote(secret)}"


def _error(error: str, status: int) -> web.Response:
    return web.json_response({"error": error}, status=status, headers=NO_STORE)


def _page(text: str, status: int) -> web.Response:
    return web.Response(text=problem_page(text), status=status, content_type="text/html", headers=NO_STORE)
