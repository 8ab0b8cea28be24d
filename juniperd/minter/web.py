"""The minter's HTTP: one endpoint for orders, limits before anything is read, and one shape for every no."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from aiohttp import web

from juniperd import order as orders
from juniperd.errors import (
    JuniperError,
    OrderRefused,
    StateError,
    TokenRejected,
    UpstreamError,
    UpstreamUnreachable,
    one_line,
)
from juniperd.jwks import KeySets
from juniperd.listener import Handler, timed
from juniperd.minter.mint import Mint
from juniperd.model import Clock
from juniperd.order import Act, Order
from juniperd.rate import Rate

log = logging.getLogger("juniperd.minter")
MAX_BODY = 8 * 1024
REJECTED_A_MINUTE = 60
CHECKS_PER_SECOND = 20
"""Signatures checked for an address that sent too many bad orders: who comes from there with a good one still gets in."""
RETRY_AFTER = 5
_CURE = "check that issuer and minter name each other, and their clocks"


class _No(Exception):
    """An answer other than the one hoped for."""

    def __init__(self, status: int, error: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.error = error
        self.text = text


class Desk:
    """Takes orders: verifies them, has them carried out, says what came of it, and tells ``minted`` of each token."""

    def __init__(self, mint: Mint, key_sets: KeySets, *, issuer: str, clock: Clock, minted: Callable[[], None]) -> None:
        self._mint = mint
        self._key_sets = key_sets
        self._profile = orders.profile(issuer)
        self._told = minted
        self._rejected = Rate(REJECTED_A_MINUTE, clock=clock)
        self._checks = Rate(60 * CHECKS_PER_SECOND, clock=clock, at_once=CHECKS_PER_SECOND)

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[_answers, timed], client_max_size=MAX_BODY)
        app.router.add_post(orders.PATH, self._take)
        app.router.add_get("/healthz", _health)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        order = await self._verified(request)
        try:
            return await (self._minted(request, order) if order.act is Act.MINT else self._ended(order))
        except JuniperError as error:
            log.info("order %s refused in project %d: %s", order.id, order.project_id, error)
            raise

    async def _minted(self, request: web.Request, order: Order) -> web.Response:
        minted = await self._mint.mint(order)
        self._told()
        if request.transport is None or request.transport.is_closing():
            # Nobody is left to take it, and nobody but the sweep would end it.
            await self._mint.end(order)
        return _json(minted.document(), status=201)

    async def _ended(self, order: Order) -> web.Response:
        await self._mint.end(order)
        return _json({"version": 1, "order": order.id, "ended": True})

    async def _verified(self, request: web.Request) -> Order:
        """The order, by the issuer's keys alone; who is not believed is counted by address."""
        if self._rejected.exhausted(request.remote) and not self._checks.spend(request.remote):
            raise _No(429, "temporarily_unavailable", "too many bad orders from this address; try again in a minute")
        try:
            return orders.read(await self._key_sets.verify(await _token(request), self._profile))
        except TokenRejected as error:
            if error.rule == "jwks":
                raise _no_keys(error) from None
            self._rejected.spend(request.remote)
            log.info("order from %s refused unread: %s", request.remote, one_line(error.message, 200))
            raise _No(400, "invalid_order", f"{error.message}; {_CURE}") from None
        except UpstreamError as error:
            raise _no_keys(error) from None


async def _token(request: web.Request) -> str:
    if request.content_type != orders.CONTENT_TYPE:
        raise TokenRejected("content_type", f"an order is sent as {orders.CONTENT_TYPE}")
    return (await request.read()).decode("ascii", errors="replace")


def _no_keys(error: JuniperError) -> _No:
    log.warning("the issuer's keys cannot be had (%s)", error)
    text = f"the issuer's keys cannot be had: {error.message}; check that the minter reaches the issuer's url"
    return _No(503, "temporarily_unavailable", text)


async def _health(_: web.Request) -> web.Response:
    return _json({"version": 1})


@web.middleware
async def _answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as JSON of one shape; nothing of an exception leaves but its line."""
    try:
        response = await handler(request)
    except _No as no:
        response = _failure(no)
    except web.HTTPException as error:
        text = f"{error.reason.lower()}; an order is posted to {orders.PATH}, of {MAX_BODY} bytes at most"
        response = _failure(_No(error.status, "invalid_order", text))
    except JuniperError as error:
        response = _failure(_no(error))
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _no(error: JuniperError) -> _No:
    if isinstance(error, TokenRejected):
        return _No(400, "invalid_order", str(error))
    if isinstance(error, OrderRefused):
        return _No(403, "access_denied", str(error))
    if isinstance(error, StateError | UpstreamUnreachable):
        return _No(503, "temporarily_unavailable", str(error))
    return _No(502, "bad_gateway", str(error))


def _failure(no: _No) -> web.Response:
    response = _json({"error": no.error, "error_description": no.text}, status=no.status)
    if no.status in (429, 503):
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def _json(document: object, *, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(document).encode(), status=status, content_type="application/json")
