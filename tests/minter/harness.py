"""A minter over TLS, an issuer that publishes keys and signs orders, and a GitLab behind a front that can go wrong."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from juniperd import order as orders
from juniperd.jose import SigningKey
from juniperd.minter import app as minter_app
from juniperd.minter import config as configuration
from juniperd.minter.app import Minter
from juniperd.order import Act, Order
from juniperd.sandbox import tls
from juniperd.sandbox.company import company
from juniperd.sandbox.gitlab import GitLabDouble, ReaderToken
from juniperd.sandbox.listening import Double, Listening
from juniperd.sandbox.world import User
from tests.issuer.doubles import Clock

TOKEN = ReaderToken("glpat-of-the-minter", username="juniper-minter", scopes=("api",))
PROJECT, OTHER = 42, 44
USER = "7-developer"
Row = dict[str, Any]
Answer = tuple[int, Any]
_NUMBERS = itertools.count(1)


@cache
def key(name: str = "issuer") -> SigningKey:
    """A key per name and run: making one takes longer than most tests."""
    assert name
    return SigningKey.generate_rs256()


@cache
def _certificates() -> tls.Certificates:
    return tls.certificates()


@dataclass(slots=True)
class Issuer(Double):
    """Publishes keys, and signs what it is told to."""

    clock: Callable[[], float]
    keys: list[dict[str, str]] = field(default_factory=lambda: [key().public_jwk()])
    status: int = 200
    listening: Listening = field(default_factory=Listening.reserve)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._metadata)
        app.router.add_get("/jwks", self._jwks)
        return app

    async def _metadata(self, _: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}, status=self.status)

    async def _jwks(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": self.keys}, status=self.status)

    def mint(self, order_id: str = "", **changes: Any) -> Order:
        """A mint order as the issuer's policy would make it."""
        number = order_id or f"order-{next(_NUMBERS)}"
        said: dict[str, Any] = {
            "project_id": PROJECT,
            "user": USER,
            "scopes": ("read_registry",),
            "ends_at": self.clock() + 900,
        }
        return Order(number, Act.MINT, **(said | changes))

    def claims(self, order: Order) -> dict[str, object]:
        return order.claims(self.url, now=self.clock())

    def sign(self, order: Order) -> str:
        return key().sign(self.claims(order), typ=orders.TYPE)


def end(order: Order) -> Order:
    """The order that ends another."""
    return Order(order.id, Act.END, order.project_id)


@dataclass(slots=True)
class Front(Double):
    """What stands before GitLab: it may change an answer to a POST, or keep it until it is let go.

    A method that ``answers`` names gets that status and a page, and GitLab never hears of it.
    """

    behind: str
    change: Callable[[Row], Any] = lambda row: row
    keeps: bool = False
    down: bool = False
    answers: dict[str, int] = field(default_factory=dict)
    kept: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    listening: Listening = field(default_factory=Listening.reserve)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        return app

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            return web.Response(status=503, text="<html>maintenance</html>", content_type="text/html")
        if request.method in self.answers:
            return web.Response(status=self.answers[request.method], text="<html>", content_type="text/html")
        headers = {k: v for k, v in request.headers.items() if k in ("PRIVATE-TOKEN", "Content-Type")}
        url = f"{self.behind}{request.path_qs}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, url, headers=headers, data=await request.read(), allow_redirects=False
            ) as got,
        ):
            status, body = got.status, await got.read()
            passed_on = {k: v for k, v in got.headers.items() if k in ("Content-Type", "Location")}
        if request.method == "POST" and self.keeps:
            self.kept.set()
            await self.let_go.wait()
        if request.method == "POST" and status == 201 and got.content_type == "application/json":
            body = json.dumps(self.change(json.loads(body))).encode()
        return web.Response(status=status, body=body, headers=passed_on)


@dataclass(slots=True)
class Bench:
    """All three, and a client with the certificate that it trusts."""

    clock: Clock
    steady: Clock
    gitlab: GitLabDouble
    front: Front
    issuer: Issuer
    minter: Minter
    session: aiohttp.ClientSession
    folder: Path

    @property
    def tokens(self) -> list[str]:
        """The names of GitLab's deploy tokens."""
        return [row.name for row in self.gitlab.deploy_tokens.rows]

    @property
    def ledger(self) -> bytes:
        """Every byte of the state folder."""
        return b"".join(path.read_bytes() for path in sorted((self.folder / "state").iterdir()))

    async def order(self, order: Order) -> Answer:
        return await self.send(self.issuer.sign(order))

    async def send(self, token: str | bytes, content_type: str = orders.CONTENT_TYPE) -> Answer:
        return await post(self.session, str(self.minter.address), token, content_type)


async def post(
    session: aiohttp.ClientSession, address: str, token: str | bytes, content_type: str = orders.CONTENT_TYPE
) -> Answer:
    """One order to a minter: status and document."""
    headers = {"Content-Type": content_type}
    async with session.post(f"https://{address}{orders.PATH}", data=token, headers=headers) as got:
        return got.status, await got.json()


def write_files(folder: Path, *, gitlab: str, issuer: str, listen: str = "127.0.0.1:0", extra: str = "") -> Path:
    """A configuration with everything it names."""
    made = _certificates()
    (folder / "minter.pem").write_bytes(made.server)
    (folder / "minter.key").write_bytes(made.server_key)
    (folder / "ca.pem").write_bytes(made.ca)
    (folder / "gitlab.token").write_text(TOKEN.value + "\n")
    (folder / "gitlab.token").chmod(0o600)
    path = folder / "minter.toml"
    path.write_text(
        f"""version = 1
sandbox = true
[minter]
listen = "{listen}"
tls_cert = "minter.pem"
tls_key = "minter.key"
state = "state"
issuer = "{issuer}"
projects = [{PROJECT}, {OTHER}]
{extra}
[gitlab]
url = "{gitlab}"
token_file = "gitlab.token"
[network]
ca_file = "ca.pem"
"""
    )
    return path


def trusting(folder: Path) -> aiohttp.TCPConnector:
    """What a client that trusts the minter's certificate connects with."""
    return aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(folder / "ca.pem")))


@asynccontextmanager
async def around(clock: Callable[[], float]) -> AsyncIterator[tuple[GitLabDouble, Front, Issuer]]:
    """Everything but the minter; its account is Maintainer of both its projects."""
    world = company()
    world.users.append(User(90, "juniper-minter", "Juniper minter"))
    for project in ("shop/billing", "shop/tax"):
        world.set_role("juniper-minter", project, "maintainer")
    gitlab = GitLabDouble(world, ReaderToken("glpat-reader"), clock=clock, minter=TOKEN)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(gitlab)
        front = await stack.enter_async_context(Front(gitlab.url))
        issuer = await stack.enter_async_context(Issuer(clock))
        yield gitlab, front, issuer


@asynccontextmanager
async def open_bench(folder: Path, *, extra: str = "") -> AsyncIterator[Bench]:
    """A minter in the test's own loop, on the test's own clocks; it sweeps when it is told to."""
    clock, steady = Clock(), Clock(0.0)
    async with around(clock) as (gitlab, front, issuer):
        path = write_files(folder, gitlab=front.url, issuer=issuer.url, extra=extra)
        async with (
            minter_app.running(configuration.load(path), clock=clock, steady=steady) as minter,
            aiohttp.ClientSession(connector=trusting(folder)) as session,
        ):
            yield Bench(clock, steady, gitlab, front, issuer, minter, session, folder)
