"""Small servers that speak the protocols the agent speaks: an identity provider, an issuer, an STS.

Each refuses what the real one refuses, as far as the agent's part needs it, and counts what it was asked.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from aiohttp import web
from aiohttp.test_utils import TestServer

from juniperd import jose, unverified
from juniperd.errors import TokenRejected
from juniperd.jose import SigningKey
from juniperd.model import rfc3339

ROLE = "arn:aws:iam::111122223333:role/invoice-archive-writer"
ASSUMED = "arn:aws:sts::111122223333:assumed-role/invoice-archive-writer/7-developer"
START = 1_800_000_000.0
SIGNER = SigningKey.generate_rs256()


@dataclass(slots=True)
class FakeClock:
    """A wall clock that a test sets."""

    now: float = START

    def __call__(self) -> float:
        return self.now


class Refusal(Exception):
    """An answer of status 400 from inside a handler."""

    def __init__(self, body: dict[str, object]) -> None:
        super().__init__(body)
        self.body = body


class Double:
    """What the three have in common: an address, a fault to play, a count of calls."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.calls: Counter[str] = Counter()
        self.url = ""
        self.fault: dict[str, tuple[int, dict[str, Any]]] = {}
        self.date_offset = 0.0

    def app(self) -> web.Application:
        """The routes, behind the count and the faults."""
        app = web.Application(middlewares=[self._around])
        self.routes(app)
        return app

    def routes(self, app: web.Application) -> None:
        """Add what this double serves."""
        raise NotImplementedError

    @web.middleware
    async def _around(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls[request.path] += 1
        response: web.StreamResponse
        if request.path in self.fault:
            status, body = self.fault[request.path]
            response = web.json_response(body, status=status)
        else:
            try:
                response = await handler(request)
            except Refusal as refusal:
                response = web.json_response(refusal.body, status=400)
        response.headers["Date"] = _http_date(self.clock() + self.date_offset)
        return response


def _http_date(moment: float) -> str:
    from email.utils import formatdate

    return formatdate(moment, usegmt=True)


class FakeIdp(Double):
    """Device flow, rotating refresh tokens whose re-use ends the family, revocation."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.approve: str | None = None
        """An error code to answer polls with; ``None`` approves."""
        self.subject = "u-developer"
        self.claims: dict[str, object] = {}
        self.without: set[str] = set()
        self.beside: dict[str, object] = {}
        """What comes beside the tokens."""
        self.interval: float | None = 1
        self.refresh_tokens: set[str] = set()
        self.spent: set[str] = set()
        self.revoked: list[str] = []
        self.auth_time = clock()
        self._numbers = itertools.count(1)

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/jwks", self._jwks)
        app.router.add_post("/device", self._device)
        app.router.add_post("/token", self._token)
        app.router.add_post("/revoke", self._revoke)

    async def _discovery(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.url,
                "jwks_uri": self.url + "/jwks",
                "token_endpoint": self.url + "/token",
                "device_authorization_endpoint": self.url + "/device",
                "revocation_endpoint": self.url + "/revoke",
            }
        )

    async def _jwks(self, _request: web.Request) -> web.Response:
        return web.json_response({"keys": [SIGNER.public_jwk()]})

    async def _device(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["client_id"] == "juniper-device"
        self.auth_time = self.clock()
        body: dict[str, object] = {
            "device_code": "a-device-code",
            "user_code": "BCDF-GHJK",
            "verification_uri": self.url + "/activate",
            "verification_uri_complete": self.url + "/activate?user_code=BCDF-GHJK",
            "expires_in": 600,
        }
        if self.interval is not None:
            body["interval"] = self.interval
        return web.json_response(body)

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form["grant_type"] == "refresh_token":
            return self._refresh(str(form["refresh_token"]))
        if self.approve is not None:
            return web.json_response({"error": self.approve}, status=400)
        return web.json_response(self._tokens())

    def _refresh(self, token: str) -> web.Response:
        if token in self.spent:
            self.refresh_tokens.clear()
        if token not in self.refresh_tokens:
            return web.json_response({"error": "invalid_grant", "error_description": "unknown token"}, status=400)
        self.refresh_tokens.discard(token)
        self.spent.add(token)
        return web.json_response(self._tokens())

    def _tokens(self) -> dict[str, object]:
        refresh = f"refresh-{next(self._numbers)}"
        self.refresh_tokens.add(refresh)
        claims: dict[str, object] = {
            "iss": self.url,
            "sub": self.subject,
            "aud": "juniper-device",
            "iat": int(self.clock()),
            "exp": int(self.clock()) + 3600,
            "auth_time": int(self.auth_time),
            "preferred_username": "developer",
            **self.claims,
        }
        kept = {name: value for name, value in claims.items() if name not in self.without}
        body: dict[str, object] = {"access_token": "a", "token_type": "Bearer", "expires_in": 3600}
        body |= {"refresh_token": refresh, "id_token": SIGNER.sign(kept), **self.beside}
        return {name: value for name, value in body.items() if name not in self.without}

    async def _revoke(self, request: web.Request) -> web.Response:
        token = str((await request.post())["token"])
        self.revoked.append(token)
        self.refresh_tokens.discard(token)
        return web.Response()


class FakeIssuer(Double):
    """Checks every proof; decides as it was told."""

    def __init__(self, clock: FakeClock, idp: FakeIdp) -> None:
        super().__init__(clock)
        self.idp = idp
        self.sts_url = ""
        self.pins: set[str] = set()
        self.one_pin = False
        """Whether everybody comes with one session at the provider, to which the first key is the only one."""
        self.answers_sign_ins = asyncio.Event()
        self.answers_sign_ins.set()
        self.forms: list[dict[str, str]] = []
        self.jtis: set[str] = set()
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.scopes = ["invoice-archive-writer"]
        self.oldest_agent = "0.1.0"
        self.target: dict[str, object] = {}
        self.oldest_age = 0.0
        self.rows: list[dict[str, object]] = []
        """What else the catalogue says; a target with a host is one of deploy tokens."""
        self.events: list[dict[str, object]] | None = []
        """The person's part of the trail; an issuer of an older release has none to tell."""
        self.minted: dict[str, str] = {}
        """Deploy tokens that live, with the key that each was given to."""
        self.ended: list[str] = []
        self._numbers = itertools.count(1)

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/.well-known/juniper", self._directory)
        app.router.add_post("/token", self._token)
        app.router.add_post("/revoke", self._revoke)
        app.router.add_post("/sign-ins", self._sign_in)
        app.router.add_delete("/sign-ins", self._sign_out)
        app.router.add_get("/catalogue", self._catalogue)
        app.router.add_get("/explain", self._explain)
        app.router.add_get("/log", self._log)

    def _proved(self, request: web.Request, access_token: str | None) -> str:
        try:
            proof = jose.verify_dpop(
                request.headers["DPoP"],
                method=request.method,
                url=self.url + request.path,
                now=self.clock() + self.date_offset,
                access_token=access_token,
            )
        except TokenRejected as error:
            raise Refusal({"error": "invalid_dpop_proof", "error_description": error.message}) from None
        assert proof.jti not in self.jtis
        self.jtis.add(proof.jti)
        return proof.thumbprint

    def _authorized(self, request: web.Request) -> str:
        scheme, _space, token = request.headers["Authorization"].partition(" ")
        assert scheme == "DPoP"
        return self._proved(request, token)

    async def _directory(self, _request: web.Request) -> web.Response:
        identity = {
            "name": "okta",
            "kind": "oidc",
            "issuer": self.idp.url,
            "client_id": "juniper-browser",
            "device_client_id": "juniper-device",
            "scopes": ["openid", "profile", "offline_access"],
            "flow": "device",
            "display_name": "Test sign-in",
        }
        return web.json_response(
            {
                "version": 1,
                "issuer": self.url,
                "api_url": self.url,
                "oldest_agent": self.oldest_agent,
                "sign_in_max_age": 43200,
                "identities": [identity],
            }
        )

    async def _sign_in(self, request: web.Request) -> web.Response:
        thumbprint = self._authorized(request)
        await self.answers_sign_ins.wait()
        if self.one_pin and self.pins - {thumbprint}:
            refusal = {"id": "d-1", "reason": "pinned_elsewhere", "rule": "0"}
            description = "this sign-in belongs to another key"
            raise Refusal({"error": "invalid_request", "error_description": description, "refusal": refusal})
        self.pins.add(thumbprint)
        ends = int(self.idp.auth_time) + 43200
        user = {"id": 7, "login": "developer"}
        body = {"identity": "okta", "subject": self.idp.subject, "user": user, "sign_in_ends": ends}
        return web.json_response(body, status=201)

    async def _sign_out(self, request: web.Request) -> web.Response:
        self.pins.discard(self._authorized(request))
        return web.Response(status=204)

    async def _catalogue(self, request: web.Request) -> web.Response:
        self._authorized(request)
        target = {"relying_party": "aws-staging", "kind": "aws", "role_arn": ROLE, "region": "eu-west-1"}
        scopes: list[dict[str, object]] = [
            {"name": name, "project": "shop/billing", "held": True, "reason": None, "targets": [target]}
            for name in self.scopes
        ]
        scopes += self.rows
        return web.json_response({"version": 1, "user": {"id": 7, "login": "developer"}, "scopes": scopes})

    async def _explain(self, request: web.Request) -> web.Response:
        self._authorized(request)
        return web.json_response({"scope": request.query["scope"], "verdict": "permitted", "steps": []})

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        thumbprint = self._proved(request, None)
        subject: Mapping[str, object] = unverified.read(form["subject_token"]) or {}
        self.oldest_age = max(self.oldest_age, self.clock() - float(str(subject["iat"])))
        if thumbprint not in self.pins:
            body = {"error": "invalid_request", "error_description": "this key is pinned to no sign-in"}
            return web.json_response(body, status=400)
        if self.refusal is not None:
            return web.json_response(self.refusal[1], status=self.refusal[0])
        row = next((row for row in self.rows if row["name"] == form["scope"]), None)
        return web.json_response(
            self._issued(form["scope"]) if row is None else self._deploy_token(row, form, thumbprint)
        )

    async def _log(self, request: web.Request) -> web.Response:
        self._authorized(request)
        if self.events is None:
            return web.json_response({"error": "invalid_request", "error_description": "not found"}, status=404)
        return web.json_response({"version": 1, "events": self.events, "more": False})

    def _deploy_token(self, row: dict[str, Any], form: dict[str, str], thumbprint: str) -> dict[str, object]:
        target = next(t for t in row["targets"] if t["relying_party"] == form["audience"])
        secret = f"gldt-{next(self._numbers):016d}"
        self.minted[secret] = thumbprint
        return {
            "access_token": secret,
            "issued_token_type": "urn:juniper:params:oauth:token-type:gitlab-deploy-token",
            "token_type": "N_A",
            "expires_in": 3600,
            "scope": row["name"],
            "decision": "d-1",
            "target": {**target, "ttl": 3600, "username": "juniper-7-developer", **self.target},
        }

    async def _revoke(self, request: web.Request) -> web.Response:
        token, thumbprint = str((await request.post())["token"]), self._proved(request, None)
        if self.minted.get(token) == thumbprint:
            del self.minted[token]
            self.ended.append(token)
        return web.Response()

    def _issued(self, scope: str) -> dict[str, object]:
        now = int(self.clock())
        claims = {
            "iss": self.url,
            "sub": f"scope:{scope}:origin:laptop:project_id:42",
            "aud": "juniper:aws:111122223333",
            "iat": now,
            "exp": now + 300,
            "jti": f"j-{next(self._numbers)}",
        }
        target = {
            "relying_party": "aws-staging",
            "kind": "aws",
            "ttl": 3600,
            "project_id": 42,
            "environment": "staging",
            "ref": None,
            "role_arn": ROLE,
            "region": "eu-west-1",
            "endpoint": self.sts_url,
            "session_name": "7-developer",
            **self.target,
        }
        return {
            "access_token": SIGNER.sign(claims),
            "issued_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_type": "N_A",
            "expires_in": 300,
            "scope": scope,
            "decision": "d-1",
            "target": target,
        }


class FakeSts(Double):
    """AssumeRoleWithWebIdentity over the query protocol, with the errors it is told to give."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.error: tuple[int, str, str] | None = None
        self.errors: list[tuple[int, str, str]] = []
        self.longest = 43200
        self.requests: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.audience = "juniper:aws:111122223333"
        self._numbers = itertools.count(1)

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/", self._assume)

    async def _assume(self, request: web.Request) -> web.Response:
        form = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        self.requests.append(form)
        self.headers.append(dict(request.headers))
        error = self.errors.pop(0) if self.errors else self.error
        seconds = int(form["DurationSeconds"])
        if error is None and seconds > self.longest:
            text = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            error = (400, "ValidationError", text)
        if error is not None:
            return _xml(_error(*error[1:]), error[0])
        return _xml(self._answer(form, seconds), 200)

    def _answer(self, form: dict[str, str], seconds: int) -> str:
        number = next(self._numbers)
        claims: Mapping[str, object] = unverified.read(form["WebIdentityToken"]) or {}
        subject = claims["sub"]
        return (
            '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            "<AssumeRoleWithWebIdentityResult>"
            f"<Credentials><AccessKeyId>ASIA{number:016d}</AccessKeyId><SecretAccessKey>secret-{number}"
            f"</SecretAccessKey><SessionToken>token-{number}</SessionToken>"
            f"<Expiration>{rfc3339(self.clock() + seconds)}</Expiration></Credentials>"
            f"<AssumedRoleUser><AssumedRoleId>AROA:7-developer</AssumedRoleId><Arn>{ASSUMED}</Arn></AssumedRoleUser>"
            f"<SubjectFromWebIdentityToken>{escape(str(subject))}</SubjectFromWebIdentityToken>"
            f"<Audience>{escape(self.audience)}</Audience>"
            "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )


def _error(code: str, text: str) -> str:
    return (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{escape(text)}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )


def _xml(text: str, status: int) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/xml")


@dataclass(slots=True)
class Doubles:
    """The three of them, wired to each other."""

    clock: FakeClock
    idp: FakeIdp
    issuer: FakeIssuer
    sts: FakeSts
    servers: list[TestServer] = field(default_factory=list)


@asynccontextmanager
async def doubles(clock: FakeClock) -> AsyncIterator[Doubles]:
    """The three servers on loopback, until the block ends."""
    idp = FakeIdp(clock)
    made = Doubles(clock, idp, FakeIssuer(clock, idp), FakeSts(clock))
    try:
        for double in (made.idp, made.issuer, made.sts):
            server = TestServer(double.app(), host="127.0.0.1")
            await server.start_server()
            made.servers.append(server)
            double.url = str(server.make_url("")).rstrip("/")
        made.issuer.sts_url = made.sts.url
        yield made
    finally:
        for server in made.servers:
            await server.close()
