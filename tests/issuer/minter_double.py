"""A minter as an issuer sees it: verifies each order, carries it out once, and can be held, down or hostile."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from juniperd import jose, order
from juniperd.errors import TokenRejected
from juniperd.issuer import orders
from juniperd.issuer.orders import Entry
from juniperd.jose import KeySet
from juniperd.model import Secret
from juniperd.order import Act, Minted, Order
from tests.issuer.doubles import Clock, Company, Row, open_company
from tests.issuer.test_registries import write_all

Fault = Callable[[Row], web.StreamResponse]


class Minter:
    """``living`` are the tokens by order; ``faults`` are answers in the place of its own, one for each request."""

    def __init__(self) -> None:
        self.company: Company | None = None
        self.asked: list[Order] = []
        self.living: dict[str, str] = {}
        self.secrets: list[str] = []
        self.faults: list[Fault] = []
        self.down: int | None = None
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self._numbers = itertools.count(1)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post(order.PATH, self._answer)
        return app

    def told(self, act: Act) -> list[str]:
        """The orders of one sort that came, by their ids."""
        return [one.id for one in self.asked if one.act is act]

    def hold(self) -> None:
        """Carry out what comes, and answer when told."""
        self.reached.clear()
        self.go_on.clear()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = self._read(request.content_type, await request.text())
        except TokenRejected as error:
            return web.json_response({"error": "invalid_order", "error_description": str(error)}, status=401)
        self.asked.append(asked)
        if self.down is not None:
            return web.json_response({"error": "down"}, status=self.down)
        document = self._carry_out(asked)
        self.reached.set()
        await self.go_on.wait()
        return self.faults.pop(0)(document) if self.faults else web.json_response(document)

    def _read(self, content_type: str, text: str) -> Order:
        company = self.company
        assert company is not None
        assert content_type == order.CONTENT_TYPE
        now = company.clock()
        keys = KeySet.parse(company.issuer.keys.jwks(now))
        return order.read(jose.verify(text, order.profile(company.url), keys, now=now))

    def _carry_out(self, asked: Order) -> Row:
        if asked.act is Act.END:
            self.living.pop(asked.id, None)
            return {"version": 1, "order": asked.id, "ended": True}
        number = next(self._numbers)
        secret = f"gldt-{number:016}-{asked.id}"
        self.living[asked.id] = secret
        self.secrets.append(secret)
        return Minted(asked.id, number, asked.username, Secret(secret), asked.ends_at).document()


@asynccontextmanager
async def minting_company(folder: Path, minter: Minter, *, clock: Clock | None = None) -> AsyncIterator[Company]:
    """A company whose policy has registries and a Git server, and whose issuer orders of the minter."""
    async with TestServer(minter.app()) as server:
        extra = f'[minter]\nurl = "{str(server.make_url("")).rstrip("/")}"\n'
        async with open_company(folder, extra=extra, change=write_all, clock=clock) as company:
            minter.company = company
            yield company


@asynccontextmanager
async def ending(company: Company) -> AsyncIterator[None]:
    """What the issuer does all the time: telling the minter what must end."""
    task = asyncio.create_task(company.issuer.minting.run())
    try:
        yield
    finally:
        task.cancel()


def rows(company: Company) -> list[Entry]:
    """The orders as they stand in the data base."""
    return company.issuer.state.read(everything)


def everything(connection: sqlite3.Connection) -> list[Entry]:
    return orders._select(connection, "TRUE", ())


def plain(text: str, status: int = 200) -> Fault:
    return lambda _: web.Response(text=text, status=status, content_type="text/html")


def changed(**members: object) -> Fault:
    """The right answer but for some members."""
    return lambda document: web.Response(body=json.dumps(document | members).encode(), content_type="application/json")
