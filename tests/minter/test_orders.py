"""Orders: the good ones carried out once, every other one refused before GitLab hears of it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from juniperd import jose, listener
from juniperd import order as orders
from juniperd.errors import StateError
from juniperd.minter import ledger, web
from juniperd.order import Order
from tests.agent.harness import until

from .harness import OTHER, PROJECT, Bench, Issuer, Row, end, key, open_bench

Forge = Callable[[Issuer, Row], str]


async def test_an_order_becomes_a_token_and_its_end_ends_it(bench: Bench) -> None:
    order = bench.issuer.mint("3f9a", scopes=("read_registry", "read_repository"))
    status, said = await bench.order(order)
    minted = orders.minted(said, order, "minter")
    assert (status, minted.username, minted.ends_at) == (201, "juniper-7-developer", order.ends_at)
    (row,) = bench.gitlab.deploy_tokens.rows
    assert (row.name, row.project_id, row.expires_at) == ("juniper 7-developer 3f9a", PROJECT, order.ends_at)
    assert set(row.scopes) == set(order.scopes)
    assert bench.gitlab.deploy_tokens.holder(minted.username, minted.secret.reveal()) == row
    for _ in range(2):
        assert await bench.order(end(order)) == (200, {"version": 1, "order": "3f9a", "ended": True})
    assert bench.tokens == []


async def test_it_is_there(bench: Bench) -> None:
    async with bench.session.get(f"https://{bench.minter.address}/healthz") as got:
        assert (got.status, await got.json()) == (200, {"version": 1})
    async with bench.session.get(f"https://{bench.minter.address}/orders") as got:
        assert (got.status, (await got.json())["error"]) == (405, "invalid_order")


def _by_hand(header: Row, claims: Row, secret: bytes) -> str:
    """An HMAC with whatever key, which a library would refuse to make."""
    head, body = (jose.b64url(json.dumps(part).encode()) for part in (header, claims))
    signature = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{jose.b64url(signature)}"


def _public_pem() -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key()._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _signed(**changes: Any) -> Forge:
    return lambda _, claims: key().sign(claims | changes, typ=orders.TYPE)


def _without(name: str) -> Forge:
    return lambda _, claims: key().sign({k: v for k, v in claims.items() if k != name}, typ=orders.TYPE)


def _moved(seconds: float) -> Forge:
    return lambda _, c: key().sign(c | {k: c[k] + seconds for k in ("iat", "nbf", "exp")}, typ=orders.TYPE)


FORGED: dict[str, Forge] = {
    "somebody else's key": lambda _, claims: key("other").sign(claims, typ=orders.TYPE),
    "somebody else's key under our name": lambda _, claims: jwt.encode(
        claims, key("other")._private, "RS256", headers={"typ": orders.TYPE, "kid": key().kid}
    ),
    "no signature": lambda _, claims: jwt.encode(claims, "", "none", headers={"typ": orders.TYPE, "kid": key().kid}),
    "the public key as a secret": lambda _, claims: _by_hand(
        {"alg": "HS256", "typ": orders.TYPE, "kid": key().kid}, claims, _public_pem()
    ),
    "a token of another type": lambda _, claims: key().sign(claims, typ="JWT"),
    "another issuer": _signed(iss="https://elsewhere.test"),
    "another audience": _signed(aud="juniper:registry"),
    "two audiences": _signed(aud=[orders.AUDIENCE, "juniper:registry"]),
    "expired": _moved(-121),
    "from the future": _moved(61),
    "a long life": lambda _, c: key().sign(c | {"exp": c["iat"] + 61}, typ=orders.TYPE),
    "no time": _without("nbf"),
    "an unknown act": _signed(act="list"),
    "an end's members alone": lambda issuer, claims: key().sign(
        issuer.claims(end(Order(claims["order"], orders.Act.MINT, PROJECT))) | {"act": "mint"}, typ=orders.TYPE
    ),
    "a project by path": _signed(project_id="shop/billing"),
    "a project as a number": _signed(project_id=PROJECT),
    "an id with a slash": _signed(order="../1"),
    "a login with a space": _signed(user="7-dev eloper"),
    "a login with a line": _signed(user="7-developer\n"),
    "a login that is not ASCII": _signed(user="7-dévelopeur"),
    "a login without an id": _signed(user="developer"),
    "a login too long for a name": _signed(user="7-" + "d" * 200, order="o" * 64),
    "no scopes": _signed(scopes=[]),
    "a scope of its own": _signed(scopes=["api"]),
    "a scope twice": _signed(scopes=["read_registry", "read_registry"]),
    "scopes that are objects": _signed(scopes=[{}]),
    "scopes as text": _signed(scopes="read_registry"),
    "a token without an end": _without("ends_at"),
    "a token that has ended": lambda _, c: key().sign(c | {"ends_at": c["iat"]}, typ=orders.TYPE),
    "a token too long": lambda _, c: key().sign(c | {"ends_at": c["iat"] + 3661}, typ=orders.TYPE),
    "an end that is true": _signed(ends_at=True),
    "not a token": lambda *_: "order",
    "nothing": lambda *_: "",
    "bytes": lambda *_: "\xff\x00" * 20,
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=list(FORGED))
async def test_a_bad_order_is_refused_and_nobody_hears_of_it(bench: Bench, forge: Forge) -> None:
    token = forge(bench.issuer, bench.issuer.claims(bench.issuer.mint()))
    status, said = await bench.send(token)
    assert (status, said["error"]) == (400, "invalid_order")
    assert "; " in said["error_description"]
    assert bench.gitlab.asked == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"project_id": 45}, "add it to projects in minter.toml"),
        ({"scopes": ("read_registry", "write_registry")}, "set may_write = true"),
    ],
)
async def test_what_the_minter_was_not_given_it_does_not_do(bench: Bench, changes: Row, words: str) -> None:
    order = bench.issuer.mint(**changes)
    status, said = await bench.order(order)
    assert (status, said["error"]) == (403, "access_denied")
    assert words in said["error_description"]
    assert bench.gitlab.asked == []
    if "project_id" in changes:
        assert (await bench.order(end(order)))[0] == 403


async def test_it_writes_where_it_may(tmp_path: Path) -> None:
    async with open_bench(tmp_path, extra="may_write = true") as bench:
        assert (await bench.order(bench.issuer.mint(scopes=("write_registry",))))[0] == 201


async def test_an_order_is_carried_out_once_whatever_was_restarted(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        order = bench.issuer.mint("once")
        assert (await bench.order(order))[0] == 201
        for _ in range(2):
            status, said = await bench.order(order)
            assert (status, said["error"]) == (400, "invalid_order")
            assert "was seen before; order anew" in said["error_description"]
        await bench.order(end(order))
        assert (await bench.order(order))[0] == 400
    async with open_bench(tmp_path) as bench:
        assert (await bench.order(bench.issuer.mint("once")))[0] == 400
        bench.clock.pass_(ledger.KEPT + 1)
        await bench.minter.sweep.once()
        assert (await bench.order(bench.issuer.mint("once")))[0] == 400
        bench.steady.pass_(ledger.WATCHED)
        await bench.minter.sweep.once()
        assert (await bench.order(bench.issuer.mint("once")))[0] == 201


async def test_a_clock_that_jumps_ahead_and_back_lets_no_order_count_twice(tmp_path: Path) -> None:
    """Also where the minter is started in between, and where the clock jumps again later on."""
    async with open_bench(tmp_path) as bench:
        order = bench.issuer.mint()
        signed = bench.issuer.sign(order)
        assert (await bench.send(signed))[0] == 201
        assert (await bench.order(end(order)))[0] == 200
        for _ in range(2):
            bench.clock.pass_(2 * ledger.KEPT)
            await bench.minter.sweep.once()
            bench.clock.pass_(-2 * ledger.KEPT)
            await bench.minter.sweep.once()
            bench.steady.pass_(ledger.WATCHED)
            assert (await bench.send(signed))[0] == 400
    async with open_bench(tmp_path) as bench:
        bench.clock.pass_(2 * ledger.KEPT)
        await bench.minter.sweep.once()
        bench.clock.pass_(-2 * ledger.KEPT)
        assert (await bench.order(order))[0] == 400


async def test_an_end_that_comes_first_holds(bench: Bench) -> None:
    order = bench.issuer.mint()
    assert (await bench.order(end(order)))[0] == 200
    assert (await bench.order(order))[0] == 400
    assert bench.gitlab.asked == []


async def test_an_order_is_ended_by_its_own_project(bench: Bench) -> None:
    order = bench.issuer.mint()
    await bench.order(order)
    status, said = await bench.order(Order(order.id, orders.Act.END, OTHER))
    assert (status, said["error"]) == (400, "invalid_order")
    assert len(bench.tokens) == 1


async def test_an_end_waits_for_the_mint_it_ends(bench: Bench) -> None:
    bench.front.keeps = True
    order = bench.issuer.mint()
    minting = asyncio.create_task(bench.order(order))
    await bench.front.kept.wait()
    ending = asyncio.create_task(bench.order(end(order)))
    again = await bench.order(order)
    assert (again[0], ending.done(), len(bench.tokens)) == (400, False, 1)
    bench.front.let_go.set()
    assert ((await minting)[0], (await ending)[0], bench.tokens) == (201, 200, [])


async def test_a_token_that_nobody_takes_is_ended_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = asyncio.Event()
    known = listener._Line.connection_lost

    def lost(line: listener._Line, problem: Exception | None) -> None:
        known(line, problem)
        heard.set()

    monkeypatch.setattr(listener._Line, "connection_lost", lost)
    bench.front.keeps = True
    minting = asyncio.create_task(bench.order(bench.issuer.mint()))
    await bench.front.kept.wait()
    minting.cancel()
    await asyncio.wait({minting})
    await heard.wait()
    bench.front.let_go.set()
    await until(lambda: bench.tokens == [])


async def test_a_project_has_so_many_live_tokens(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MOST_LIVE", 2)
    first = bench.issuer.mint()
    assert [(await bench.order(o))[0] for o in (first, bench.issuer.mint())] == [201, 201]
    status, said = await bench.order(bench.issuer.mint())
    assert (status, said["error"]) == (503, "temporarily_unavailable")
    assert "has 2 live tokens of this minter; end some" in said["error_description"]
    await bench.order(end(first))
    assert (await bench.order(bench.issuer.mint()))[0] == 201


async def test_a_ledger_that_cannot_be_written_stops_every_mint(bench: Bench) -> None:
    bench.minter.sweep._ledger._connection.close()
    status, said = await bench.order(bench.issuer.mint())
    assert (status, said["error"]) == (503, "temporarily_unavailable")
    assert "check the disk of the state folder" in said["error_description"]
    assert bench.gitlab.asked == []
    assert await bench.minter.sweep._pause() == 2


async def test_a_token_that_could_not_be_written_down_is_handed_to_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise StateError("the disk is full", "make room")

    with monkeypatch.context() as patched:
        patched.setattr(ledger.Ledger, "minted", full)
        status, said = await bench.order(bench.issuer.mint())
    assert (status, "token" in said, len(bench.tokens)) == (503, False, 1)
    assert await bench.minter.sweep.once()
    assert bench.tokens == []


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_a_large_body_or_another_type_is_not_read(bench: Bench) -> None:
    status, said = await bench.send(b"a" * 1_000_000)
    assert (status, said["error"]) == (413, "invalid_order")
    assert "8192 bytes at most" in said["error_description"]
    status, said = await bench.send(bench.issuer.sign(bench.issuer.mint()), "application/x-www-form-urlencoded")
    assert (status, said["error"]) == (400, "invalid_order")
    assert bench.tokens == []


async def test_who_sends_bad_orders_is_slowed_and_shuts_nobody_out(bench: Bench) -> None:
    for _ in range(web.REJECTED_A_MINUTE + web.CHECKS_PER_SECOND):
        assert (await bench.send("order"))[0] == 400
    assert (await bench.send("order"))[0] == 429
    bench.clock.pass_(1)
    assert (await bench.order(bench.issuer.mint()))[0] == 201


async def test_without_the_issuers_keys_nothing_is_believed(bench: Bench) -> None:
    bench.issuer.status = 500
    status, said = await bench.order(bench.issuer.mint())
    assert (status, said["error"]) == (503, "temporarily_unavailable")
    assert "the issuer's keys cannot be had" in said["error_description"]
    bench.issuer.status, bench.issuer.keys = 200, []
    bench.clock.pass_(10)
    assert (await bench.order(bench.issuer.mint()))[0] == 503
    bench.issuer.keys = [key().public_jwk()]
    bench.clock.pass_(10)
    assert (await bench.order(bench.issuer.mint()))[0] == 201


async def test_no_secret_is_told_or_kept(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        _, said = await bench.order(bench.issuer.mint("seen"))
        bench.gitlab.deploy_tokens.rows.clear()
        bench.front.change = lambda row: row | {"scopes": []}
        await bench.order(bench.issuer.mint())
        await bench.minter.sweep.once()
    assert "order seen: minted for 7-developer in project 42" in caplog.text
    for secret in (said["token"], "gldt-", "glpat-"):
        assert secret not in caplog.text
        assert secret.encode() not in bench.ledger
    assert b"juniper 7-developer seen" in bench.ledger
