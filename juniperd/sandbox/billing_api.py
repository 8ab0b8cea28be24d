"""The shop's internal API: it verifies the issuer's access tokens by itself, as any API of a company would.

RFC 9068 says what to check, RFC 6750 how to refuse.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import jwt
from aiohttp import web

from juniperd.sandbox.faults import Faults
from juniperd.sandbox.listening import Double, Listening
from juniperd.sandbox.published import published

LEEWAY: Final = 60
ASK_AGAIN: Final = 60.0
"""Seconds between two looks for a key that was not there."""
INVOICES: Final = (
    {"id": 1001, "customer": "Harbour Ferries", "state": "paid"},
    {"id": 1002, "customer": "Northern Bakery", "state": "stuck"},
)
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})


class Unauthorized(Exception):
    """No token that this API takes; its text goes into the answer."""


@dataclass(slots=True)
class BillingApi(Double):
    """`GET /invoices`, `GET /invoices/ID` and `GET /whoami`, for one scope of one issuer, held as these subjects."""

    issuer: str
    audience: str
    scope: str
    subjects: tuple[str, ...]
    clock: Callable[[], float] = time.time
    tls: ssl.SSLContext | None = None
    listening: Listening = field(default_factory=lambda: Listening.reserve(secure=True))
    faults: Faults = field(default_factory=Faults)
    _keys: dict[str, jwt.PyJWK] = field(default_factory=dict)
    _kept_until: float = 0.0
    _asked_at: float = 0.0

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[self.faults.middleware])
        app.router.add_get("/invoices", self._for_token(_invoices))
        app.router.add_get("/invoices/{id:[0-9]{1,9}}", self._for_token(_invoice))
        app.router.add_get("/whoami", self._for_token(_whoami))
        return app

    def _for_token(self, answer: Callable[[web.Request, Mapping[str, Any]], web.Response]) -> Any:  # noqa: ANN401  # what aiohttp calls a handler
        async def handle(request: web.Request) -> web.Response:
            kind, _, token = request.headers.get("Authorization", "").partition(" ")
            if not token or kind.lower() != "bearer":
                return _refusal(401)
            try:
                claims = await self._claims(token)
            except Unauthorized as problem:
                return _refusal(401, "invalid_token", str(problem))
            if claims.get("scope") != self.scope:
                return _refusal(403, "insufficient_scope", f"this needs the scope {self.scope}")
            if claims["sub"] not in self.subjects:
                return _refusal(403, "insufficient_scope", f"the scope {self.scope} is held otherwise")
            return answer(request, claims)

        return handle

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            if str(header.get("typ", "")).lower() not in _TYPES:
                raise Unauthorized("the token is no access token")
            claims: dict[str, Any] = jwt.decode(
                token,
                await self._key(str(header.get("kid", ""))),
                algorithms=["RS256"],
                options={
                    "require": ["iss", "aud", "exp", "iat", "jti", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": False,
                },
                issuer=self.issuer,
            )
        except (jwt.PyJWTError, TypeError, ValueError):
            raise Unauthorized("the token does not verify") from None
        if claims["aud"] != self.audience:
            raise Unauthorized("the token is for somebody else")
        self._check_times(claims)
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self.clock()
        exp, nbf = claims["exp"], claims.get("nbf", 0)
        if type(exp) is not int or type(nbf) is not int:
            raise Unauthorized("the token's times are no whole numbers")
        if now >= exp + LEEWAY:
            raise Unauthorized("the token has expired")
        if now < nbf - LEEWAY:
            raise Unauthorized("the token is not valid yet")

    async def _key(self, kid: str) -> jwt.PyJWK:
        now = self.clock()
        unknown = kid not in self._keys and now - self._asked_at >= ASK_AGAIN
        if now >= self._kept_until or unknown:
            await self._fetch(now)
        if kid not in self._keys:
            raise Unauthorized("the token is signed with a key that the issuer does not publish")
        return self._keys[kid]

    async def _fetch(self, now: float) -> None:
        self._asked_at = now
        try:
            found = await published(self.issuer, self.tls)
            self._keys = {str(row["kid"]): jwt.PyJWK(row) for row in found.keys if row.get("kid")}
        except (TimeoutError, ValueError, aiohttp.ClientError, jwt.PyJWTError):
            raise Unauthorized("the issuer's keys cannot be had") from None
        self._kept_until = now + found.max_age


def _refusal(status: int, error: str = "", description: str = "") -> web.Response:
    said = f', error="{error}", error_description="{description}"' if error else ""
    body = {"error": error or "unauthorized"} | ({"error_description": description} if description else {})
    return web.json_response(body, status=status, headers={"WWW-Authenticate": f'Bearer realm="billing"{said}'})


def _invoices(_request: web.Request, _claims: Mapping[str, Any]) -> web.Response:
    return web.json_response({"invoices": list(INVOICES)})


def _invoice(request: web.Request, _claims: Mapping[str, Any]) -> web.Response:
    wanted = int(request.match_info["id"])
    found = next((row for row in INVOICES if row["id"] == wanted), None)
    if found is None:
        return web.json_response({"error": "not_found"}, status=404)
    return web.json_response(found)


def _whoami(_request: web.Request, claims: Mapping[str, Any]) -> web.Response:
    names = ("sub", "preferred_username", "scope", "juniper_session", "jti")
    return web.json_response({name: claims[name] for name in names if name in claims})
