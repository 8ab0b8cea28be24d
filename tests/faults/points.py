"""The points at which somebody dies: an operation, a victim, and the number of the call that is its last."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from juniperd.issuer import audit, state
from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.company import ACCOUNT, REGION
from tests.faults.company import JANITOR, Saw, Shop, shop_with_victims
from tests.peers.secret_service import secret_service

SCOPE = "invoice-archive-writer"
PLACE: dict[str, object] = {"project": "shop/billing", "environment": "staging", "seconds": 3600}


@dataclass(frozen=True, slots=True)
class Operation:
    """What a person or a tool does; ``ready`` brings the company to where it can be done."""

    name: str
    ready: Callable[[Shop], Awaitable[None]]
    act: Callable[[Shop], Awaitable[Saw]]


async def _signed_out(shop: Shop) -> None:
    if (await shop.control("status")).result["sign_in"]["state"] == "signed-in":
        await shop.control("logout")


async def _signed_in(shop: Shop) -> None:
    if (await shop.control("status")).result["sign_in"]["state"] != "signed-in":
        await shop.sign_in()


async def _with_a_token_at_rest(shop: Shop) -> None:
    """A new agent, which has the refresh token in the keyring and no ID token yet."""
    await _signed_in(shop)
    await shop.stop("agent")
    await shop.start("agent")


async def _in_a_session(shop: Shop) -> None:
    await _signed_in(shop)
    for row in (await shop.control("session_list")).result["sessions"]:
        await shop.control("session_close", session=row["id"])
    opened = await shop.control("session_open", **PLACE)
    assert opened.good, opened
    shop.session_socket = opened.result["socket"]


SIGN_OUT = Operation("sign-out", _in_a_session, lambda shop: shop.control("logout"))
OPERATIONS = (
    Operation("sign-in", _signed_out, lambda shop: shop.control("login")),
    Operation("refresh and mint", _with_a_token_at_rest, lambda shop: shop.helper(SCOPE)),
    Operation("mint in a session", _in_a_session, lambda shop: shop.helper(JANITOR, shop.session_socket)),
    Operation("open a session", _signed_in, lambda shop: shop.control("session_open", **PLACE)),
    Operation("end a session", _in_a_session, lambda shop: shop.control("session_close")),
    SIGN_OUT,
)
VICTIMS = ("agent", "issuer")


@dataclass(frozen=True, slots=True)
class Point:
    """Where to die; ``grace``: whether the provider takes a refresh token that was just spent."""

    operation: Operation
    victim: str
    call: int
    grace: bool

    def __str__(self) -> str:
        grace = "grace" if self.grace else "no grace"
        return f"{self.operation.name}, {self.victim} at call {self.call}, {grace}"


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one point."""

    point: Point
    died_at: str
    saw: str
    after: str


async def measure(shop: Shop) -> dict[tuple[str, str], int]:
    """How many calls each victim makes in each operation that nobody disturbs.

    The second round counts: by then GitLab's answers are in memory, as they are at most points.
    """
    found = {}
    for operation in (*OPERATIONS, *OPERATIONS):
        await operation.ready(shop)
        for victim in VICTIMS:
            await shop.victims[victim].arm(1_000_000)
        saw = await operation.act(shop)
        assert saw.good, (operation.name, saw)
        for victim in VICTIMS:
            found[operation.name, victim] = (await shop.victims[victim].disarm())[1]
    return found


def schedule(lengths: dict[tuple[str, str], int], *, seed: int, points: int) -> Iterator[Point]:
    """That many points, spread evenly over operations and victims and at random over their calls."""
    dice = random.Random(seed)
    pairs = [(operation, victim) for operation in OPERATIONS for victim in VICTIMS]
    for number in range(points):
        operation, victim = pairs[number % len(pairs)]
        length = lengths[operation.name, victim]
        yield Point(operation, victim, dice.randint(1, max(1, length)), grace=dice.random() < 0.5)


async def run(shop: Shop, point: Point) -> Row:
    """Die there, see what the caller saw, begin again, and check that nothing was lost, leaked or doubled."""
    shop.grants.grace = point.grace
    await point.operation.ready(shop)
    reused, victim = shop.grants.reused, shop.victims[point.victim]
    await victim.arm(point.call)
    saw = await point.operation.act(shop)
    died, count, last = await victim.disarm()
    assert died == (count >= point.call), f"{point}: {last}"
    _check_what_was_seen(shop, saw)
    await shop.revive()
    after = await _begin_again(shop)
    assert shop.grants.reused - reused <= 1, f"{point}: a spent refresh token was shown twice"
    if point.operation is not SIGN_OUT:
        assert not _needless(after, shop.grants.reused - reused), f"{point}: {after}"
    _check_trail(shop)
    _check_nothing_told(shop)
    return Row(
        point, last if died else "nowhere", "served" if saw.good else saw.stderr.strip() or "the agent went away", after
    )


def _check_what_was_seen(shop: Shop, saw: Saw) -> None:
    """All or nothing: a whole answer with status 0, or not a byte on stdout and one line on stderr."""
    if not saw.good:
        assert len(saw.stderr.strip().splitlines()) <= 1, saw
        assert b"SecretAccessKey" not in saw.stdout, saw
    elif b"AccessKeyId" in saw.stdout:
        assert json.loads(saw.stdout)["AccessKeyId"] in shop.keys


async def _begin_again(shop: Shop) -> str:
    """A tool is served again: at once where a sign-in was left, else after one login.

    An outage is remembered for seconds, so that a loop of tools is no storm; who asks why has it forgotten.
    """
    await shop.control("explain", scope=SCOPE)
    first = await shop.helper(SCOPE)
    if first.good:
        return "served"
    assert len(first.stderr.strip().splitlines()) == 1, first
    assert "juniper login" in first.stderr, first
    await shop.sign_in()
    second = await shop.helper(SCOPE)
    assert second.good, second
    return f"signed in again: {first.stderr.strip().removeprefix('juniper-aws: ')}"


def _needless(after: str, reused: int) -> bool:
    """Whether somebody had to sign in again though no token was spent twice, and they had not signed out."""
    return "ended the sign-in" in after and not reused


def _trail(shop: Shop) -> list[dict[str, Any]]:
    with closing(state.connect(shop.folder / "state", readonly=True)) as connection:
        head, flaw = audit.verify(connection)
        assert flaw is None, (head, flaw)
        return list(audit.records(connection))


def _check_trail(shop: Shop) -> None:
    """The chain is whole; whatever left was written down before, once; a session ended at most once."""
    records = _trail(shop)
    permitted = {r["jti"] for r in records if r["event"] == "decision" and r["verdict"] == "permitted"}
    assert set(shop.traded) <= permitted, "a token left that the trail does not know"
    assert max(shop.traded.values(), default=0) <= 1, "one token was traded twice"
    opened = [r["session"] for r in records if r["event"] == "session_opened"]
    ended = [r["session"] for r in records if r["event"] == "session_ended"]
    assert len(set(opened)) == len(opened)
    assert len(set(ended)) == len(ended), "a session ended twice"
    with closing(state.connect(shop.folder / "state", readonly=True)) as connection:
        open_now = {row[0] for row in connection.execute("SELECT id FROM sessions WHERE ended_at IS NULL")}
    assert open_now == set(opened) - set(ended)


def _check_nothing_told(shop: Shop) -> None:
    """No log has a secret, and no file is left that nobody owns."""
    told = shop.secrets | set(shop.grants.by_refresh_token)
    for name in ("agent", "issuer"):
        text = shop.log(name)
        assert not any(secret in text for secret in told)
        assert "Traceback" not in text, text
    left = {path.name for path in (shop.folder / "run").iterdir()}
    left -= {"agent.sock", "agent.sock.lock"}
    assert all(name.startswith("session-") for name in left), left
    assert {path.name for path in (shop.folder / "state").iterdir()} <= {
        "admin.sock",
        "head",
        "lock",
        "state.db",
        "state.db-shm",
        "state.db-wal",
    }


async def kill(place: Path, *, seed: int, points: int, tell: Callable[[Row], None]) -> list[Row]:
    """A company of its own below ``place``, and that many points one after the other."""
    account = AwsAccount(ACCOUNT, REGION)
    await asyncio.to_thread(account.start)
    rows = []
    try:
        with secret_service(place / "keyring") as keyring:
            async with shop_with_victims(place / "shop", account, keyring.variables) as shop:
                for point in schedule(await measure(shop), seed=seed, points=points):
                    async with asyncio.timeout(60):
                        rows.append(await run(shop, point))
                    tell(rows[-1])
    finally:
        account.stop()
    return rows
