"""A test bench for clusters: an issuer over TLS whose every answer a test decides, and a cluster that trusts it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from juniperd.sandbox.cluster import ClusterDouble
from juniperd.sandbox.cluster.access import RoleBinding, Rule
from juniperd.sandbox.cluster.state import ClusterState, ConfigMap, Container, Pod
from juniperd.sandbox.cluster.tokens import JwtAuthenticator, Trust, TrustedScope
from juniperd.sandbox.listening import Double, Listening
from juniperd.sandbox.tls import Certificates

from .clock import Clock

AUDIENCE = "staging-eu"
GROUP, AUDITORS, JOB = "juniper:scope:billing-debugger", "juniper:scope:billing-review", "gitlab:project_env:42:staging"
GROUPS = frozenset({GROUP, AUDITORS, "juniper:scope:billing-anywhere", JOB})
SUBJECT = "scope:billing-debugger:origin:laptop:project_id:42"


def trusted(name: str, environment: str, *origins: str) -> TrustedScope:
    """A scope of project 42."""
    return TrustedScope(name, {one: f"scope:{name}:origin:{one}:project_id:42" for one in origins}, environment)


SCOPES = (
    trusted("billing-debugger", "staging", "laptop"),
    trusted("billing-review", "review/*", "laptop", "pipeline"),
    trusted("billing-anywhere", "review/**", "pipeline"),
)
BINDINGS = (
    RoleBinding("billing", "look", GROUP, (Rule(("get", "list", "watch"), ("pods", "pods/log")),)),
    RoleBinding("billing", "configure", GROUP, (Rule(("*",), ("configmaps",)),)),
)
STATE = ClusterState(
    ("billing",),
    (
        Pod(
            "billing",
            "invoices-7d9",
            (Container("app", "billing:1", ("started", "ready")), Container("proxy", "proxy:2", ("open",))),
            {"app": "invoices"},
        ),
        Pod("billing", "migration", (Container("app", "billing:1", ("one", "two", "three"), running=False),)),
    ),
    (ConfigMap("billing", "settings", {"currency": "EUR"}),),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """Both ends of TLS on loopback, and where the authority's certificate is."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    ca: Path

    @classmethod
    def of(cls, made: Certificates, folder: Path) -> Tls:
        """Written where OpenSSL reads them."""
        for name, content in (("ca.pem", made.ca), ("server.pem", made.server), ("key.pem", made.server_key)):
            (folder / name).write_bytes(content)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(folder / "server.pem", folder / "key.pem")
        return cls(server, ssl.create_default_context(cafile=folder / "ca.pem"), folder / "ca.pem")


@dataclass(slots=True)
class Key:
    """A private key and the `kid` under which it is published."""

    private: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    kid: str = "first"
    algorithm: str = "ES256"

    def jwk(self) -> dict[str, Any]:
        """The public half."""
        made: dict[str, Any] = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        return made | {"kid": self.kid, "use": "sig"}

    def sign(self, claims: Mapping[str, Any], **header: Any) -> str:
        """By PyJWT."""
        headers = {"kid": self.kid} | header
        return jwt.encode(dict(claims), self.private, self.algorithm, headers=headers)


@dataclass(slots=True)
class Issuer(Double):
    """Discovery and a key set; `asked` has every path in order. While it is not `up`, it answers 503."""

    listening: Listening
    keys: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=lambda: {"Cache-Control": "public, max-age=300"})
    document: dict[str, Any] = field(default_factory=dict)
    up: bool = True
    asked: list[str] = field(default_factory=list)

    def app(self) -> web.Application:
        """Both paths."""
        app = web.Application()
        app.add_routes([web.get("/.well-known/openid-configuration", self._discovery), web.get("/keys", self._jwks)])
        return app

    async def _discovery(self, request: web.Request) -> web.Response:
        return self._answer(request, {"issuer": self.url, "jwks_uri": f"{self.url}/keys"} | self.document, {})

    async def _jwks(self, request: web.Request) -> web.Response:
        return self._answer(request, {"keys": self.keys}, self.headers)

    def _answer(self, request: web.Request, body: dict[str, Any], headers: dict[str, str]) -> web.Response:
        self.asked.append(request.path)
        return web.json_response(body, headers=headers) if self.up else web.Response(status=503)


@dataclass(slots=True)
class Bench:
    """An issuer with one key, and what a cluster makes of its tokens."""

    issuer: Issuer
    tls: Tls
    clock: Clock
    key: Key = field(default_factory=Key)
    authenticator: JwtAuthenticator = field(init=False)

    def __post_init__(self) -> None:
        self.issuer.keys = [self.key.jwk()]
        trust = Trust(self.issuer.url, AUDIENCE, SCOPES, GROUPS, self.tls.client)
        self.authenticator = JwtAuthenticator(trust, self.clock)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Good ones, apart from the changes; None takes a claim out."""
        now = int(self.clock())
        good = {
            "iss": self.issuer.url,
            "sub": SUBJECT,
            "aud": AUDIENCE,
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            "jti": "0123",
            "environment": "staging",
            "juniper_origin": "laptop",
            "juniper_scope": "billing-debugger",
            "juniper_session": "s-1",
            "groups": [GROUP],
            "preferred_username": "7-developer",
            "user_id": "7",
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    def token(self, **changes: Any) -> str:
        """Signed by the published key."""
        return self.key.sign(self.claims(**changes))

    async def taken(self, token: str) -> bool:
        """Whether the cluster takes it."""
        return await self.authenticator.authenticate(token) is not None

    async def refused(self, token: str) -> str:
        """Why the cluster does not take it."""
        assert not await self.taken(token)
        return self.authenticator.refusals[-1]

    def cluster(self) -> ClusterDouble:
        """A cluster that is not started yet."""
        made = ClusterDouble(self.authenticator, STATE, BINDINGS, self.clock)
        made.listening.tls = self.tls.server
        return made
