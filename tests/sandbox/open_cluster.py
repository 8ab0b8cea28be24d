"""A cluster that knows people by plain words for tokens, and a client for what it says over TLS."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from juniperd.sandbox.cluster import ClusterDouble
from juniperd.sandbox.cluster.access import RoleBinding, Rule
from juniperd.sandbox.cluster.authentication import User
from juniperd.sandbox.cluster.state import ClusterState, ConfigMap, Container, Pod
from juniperd.sandbox.tls import certificates

from .clock import Clock

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

NAMESPACE = "/api/v1/namespaces/billing"
PODS, MAPS = f"{NAMESPACE}/pods", f"{NAMESPACE}/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
GROUP = "billing-debuggers"
DEVELOPER = User("juniper:7-developer", "7", (GROUP,), {"example.com/scope": ("billing-debugger",)})
BINDINGS = (
    RoleBinding(
        "billing",
        "debug",
        GROUP,
        (Rule(("get", "list", "watch"), ("pods", "pods/log", "events")), Rule(("*",), ("configmaps", "shelves"))),
    ),
)
STATE = ClusterState(
    ("billing",),
    (
        Pod(
            "billing",
            "invoices-0",
            (Container("app", "billing:1", ("one", "two", "three")), Container("side", "side:1", restarts=2)),
            labels={"app": "invoices"},
        ),
        Pod("billing", "report", (Container("job", "report:1", ("begun", "done"), running=False),), age=200_000.0),
    ),
    (ConfigMap("billing", "settings", {"mode": "staging"}, {"app": "invoices"}),),
)


class Words:
    """Takes one word for a token."""

    async def authenticate(self, token: str) -> User | None:
        return DEVELOPER if token == "developer" else None


def server_tls(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A certificate for loopback, as its server and a client that knows its authority need it."""
    made = certificates()
    for name, pem in (("ca.pem", made.ca), ("server.pem", made.server), ("server.key", made.server_key)):
        (folder / name).write_bytes(pem)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    return server, ssl.create_default_context(cafile=folder / "ca.pem")


@dataclass(frozen=True, slots=True)
class Said:
    """One answer."""

    status: int
    text: str
    headers: CIMultiDictProxy[str]

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def refusal(self) -> tuple[int, str, str]:
        """Status, reason and message of a `Status`, which must agree with the status line."""
        body = self.json
        assert (body["kind"], body["status"], body["code"]) == ("Status", "Failure", self.status)
        return self.status, body["reason"], body["message"]


@dataclass(slots=True)
class Door:
    """The cluster, and somebody at its door."""

    cluster: ClusterDouble
    session: aiohttp.ClientSession
    tls: ssl.SSLContext
    clock: Clock
    token: str = "developer"
    headers: dict[str, str] = field(default_factory=dict)

    def request(self, method: str, path: str, **more: Any) -> Any:
        """A request with the token, unless the headers say otherwise."""
        given = {"Authorization": f"Bearer {self.token}"} | self.headers | more.pop("headers", {})
        return self.session.request(
            method, self.cluster.url + path, headers={k: v for k, v in given.items() if v}, ssl=self.tls, **more
        )

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Said:
        """The whole answer; a body that is no bytes goes as JSON, and `Content_Type` is `Content-Type`."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            given.setdefault("Content-Type", "application/json")
            body = json.dumps(body).encode()
        async with self.request(method, path, data=body, headers=given) as got:
            return Said(got.status, await got.text(), got.headers)

    async def get(self, path: str, **headers: str) -> Said:
        return await self.ask("GET", path, **headers)


@asynccontextmanager
async def open_cluster(folder: Path, **changes: Any) -> AsyncIterator[Door]:
    """A running cluster with one developer, two pods and a config map."""
    clock = Clock()
    server, client = server_tls(folder)
    settings: dict[str, Any] = {"state": STATE, "bindings": BINDINGS, "clock": clock}
    cluster = ClusterDouble(Words(), **(settings | changes))
    cluster.listening.tls = server
    async with cluster, aiohttp.ClientSession() as session:
        yield Door(cluster, session, client, clock)
