"""Each upstream failing in each way, under each operation that meets it: what the caller saw, and what came of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from juniperd import broker, http, signin
from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.company import ACCOUNT, REGION
from tests.agent.harness import until
from tests.e2e.whole import SCOPE, Answer, Whole, whole
from tests.faults.company import CountingGrants
from tests.faults.hostile import ENDLESS, Doors, Fault

pytestmark = pytest.mark.asyncio(loop_scope="module")
MIB = 1 << 20
PLACE: dict[str, object] = {"project": "shop/billing", "environment": "staging", "seconds": 3600}


class Shop:
    """The company behind its doors."""

    def __init__(self, inside: Whole, doors: Doors) -> None:
        self.inside, self.doors = inside, doors

    async def heal(self) -> None:
        """Every upstream as always, met on new connections."""
        await self.doors.heal()
        for client in (self.inside.agent.http, self.inside.issuer.gitlab._http):
            await client.close()

    async def signed_in(self) -> None:
        """Healed, signed in, with no lease and no fact of GitLab's in memory."""
        await self.heal()
        # What is on its way would be a minute old when it arrives, once the clock has gone on.
        await until(lambda: not self.inside.agent.broker.flying and not self.inside.issuer.gitlab._flights)
        shown: Any = (await self.inside.control("status")).result["sign_in"]
        if shown["state"] != "signed-in" or shown["seconds_left"] < 3 * 3600:
            await self.inside.sign_in()
        self.inside.clock.pass_by(61)
        await self.inside.agent.desks["sandbox"].sign_in.subject(fresh=True)
        self.inside.agent.broker.forget("sandbox")

    async def stale(self) -> None:
        """Signed in, with an ID token that counts no more."""
        await self.signed_in()
        self.inside.clock.pass_by(600)

    async def signed_out(self) -> None:
        await self.signed_in()
        await self.inside.control("logout")

    async def in_session(self) -> None:
        await self.signed_in()
        for row in (await self.inside.control("session_list")).result["sessions"]:  # type: ignore[attr-defined]
            await self.inside.control("session_close", session=row["id"])
        await self.inside.open_session()
        self.inside.clock.pass_by(61)

    async def holding(self) -> None:
        """With a lease that has to be renewed, by somebody whose ID token is old."""
        await self.signed_in()
        assert (await self.inside.aws()).status == 0
        self.inside.clock.pass_by(46 * 60)


@pytest.fixture(scope="module")
def account() -> Iterator[AwsAccount]:
    made = AwsAccount(ACCOUNT, REGION)
    made.start()
    yield made
    made.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(account: AwsAccount) -> AsyncIterator[Shop]:
    doors = Doors()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="jun-") as place:
        async with whole(Path(place), account, patch, doors=doors) as inside:
            inside.doubles.idp.grants = CountingGrants(inside.clock, 0.01)
            yield Shop(inside, doors)


Step = Callable[[Shop], Awaitable[Answer]]
OPERATIONS: dict[str, tuple[Callable[[Shop], Awaitable[None]], Step, tuple[str, ...]]] = {
    "sign-in": (Shop.signed_out, lambda s: s.inside.control("login"), ("issuer", "idp", "gitlab")),
    "mint": (Shop.signed_in, lambda s: s.inside.mint(), ("issuer", "gitlab", "sts")),
    "open": (Shop.signed_in, lambda s: s.inside.control("session_open", **PLACE), ("issuer", "gitlab")),
    "extend": (Shop.in_session, lambda s: s.inside.control("session_extend", seconds=7200), ("issuer",)),
    "close": (Shop.in_session, lambda s: s.inside.control("session_close"), ("issuer",)),
    "explain": (Shop.signed_in, lambda s: s.inside.control("explain", scope=SCOPE), ("issuer",)),
    "catalogue": (Shop.signed_in, lambda s: s.inside.control("catalogue"), ("issuer", "gitlab")),
    "refresh": (Shop.stale, lambda s: s.inside.mint(), ("idp",)),
}
ROWS = [(name, upstream, fault) for name, row in OPERATIONS.items() for upstream in row[2] for fault in Fault]


def nameless(upstream: str, fault: Fault) -> bool:
    """Where no host is named: nobody knows yet who is slow, and a doubtful answer of GitLab's is a refusal."""
    return fault is Fault.SLOW or (upstream == "gitlab" and fault in {Fault.WRONG, Fault.REDIRECT})


async def during(shop: Shop, upstream: str, fault: Fault, act: Step, *, patience: float = 0.1) -> Answer:
    """The act while the upstream fails; a held answer is waited for a tenth of the time, as is a mint, or ``patience``."""
    await shop.doors.turn(upstream, fault)
    asked = http.Http.request

    async def hurried(self: http.Http, *args: str, timeout: float = http.TIMEOUT, **more: object) -> http.Answer:
        return await asked(self, *args, timeout=timeout / 10, **more)  # type: ignore[arg-type]  # handed on as it came

    with pytest.MonkeyPatch.context() as patch:
        if fault is Fault.SLOW:
            patch.setattr(http.Http, "request", hurried)
            patch.setattr(broker, "PATIENCE", broker.PATIENCE * patience)
            patch.setattr(signin, "REFRESH_PATIENCE", signin.REFRESH_PATIENCE / 10)
            patch.setattr(broker, "RENEWAL_PATIENCE", broker.RENEWAL_PATIENCE / 10)
        began = time.monotonic()
        answer = await act(shop)
        assert time.monotonic() - began < 4.0
    if fault is Fault.ENDLESS:
        assert all(door.sent < ENDLESS / 4 for door in shop.doors.of[upstream])
        assert all(door.sent <= 20 * MIB * max(door.asked, 1) for door in shop.doors.of[upstream])
    return answer


@pytest.mark.parametrize(("name", "upstream", "fault"), ROWS, ids=lambda part: str(part).replace(" ", "-"))
async def test_a_failing_upstream_is_one_line_and_loses_nothing(
    shop: Shop, name: str, upstream: str, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    ready, act, _ = OPERATIONS[name]
    await ready(shop)
    saw = await during(shop, upstream, fault, act)
    assert saw.status in {69, 77, 78}, saw
    assert "\n" not in saw.line
    assert "; " in saw.line
    assert nameless(upstream, fault) or any(f"127.0.0.1:{door.port}" in saw.line for door in shop.doors.of[upstream])
    assert "inside" not in saw.line
    assert name == "sign-in" or saw.stdout == b""
    assert shop.doors.strays == 0
    await shop.heal()
    shop.inside.clock.pass_by(61)
    if name == "sign-in":
        shop.inside.agent.desks["sandbox"].sign_in.abandon_login()
        assert (await shop.inside.control("login", again=True)).status == 0
    shop.inside.agent.broker.forget("sandbox")
    healed = await shop.inside.aws()
    assert healed.status == 0, healed
    assert "eyJ" not in caplog.text + saw.line
    assert "glpat-" not in caplog.text + saw.line


@pytest.mark.parametrize("upstream", ["issuer", "sts"])
@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name.lower())
async def test_what_is_valid_is_served_whatever_the_renewal_meets(shop: Shop, upstream: str, fault: Fault) -> None:
    await shop.holding()
    served = await during(shop, upstream, fault, lambda s: s.inside.aws())
    assert served.status == 0
    lease = await shop.inside.lease()
    assert lease is not None
    assert lease["state"] == "stale"


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name.lower())
async def test_a_renewal_that_fails_leaves_the_id_token_as_long_as_it_counts(shop: Shop, fault: Fault) -> None:
    shop.inside.clock.pass_by(3601)
    await shop.signed_in()
    assert (await shop.inside.mint()).status == 0, "the issuer has fetched the provider's keys anew"
    shop.inside.clock.pass_by(300)
    # Who is to be served in the end waits as tools do, however busy this machine is.
    saw = await during(shop, "idp", fault, lambda s: s.inside.mint(), patience=1.0)
    assert saw.status == 0, saw
    await shop.heal()
    shop.inside.clock.pass_by(300)
    assert (await shop.inside.mint()).status == 0, "the sign-in goes on"


@pytest.mark.parametrize("upstream", ["issuer", "idp"])
@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name.lower())
async def test_a_logout_forgets_here_whatever_the_servers_say(shop: Shop, upstream: str, fault: Fault) -> None:
    await shop.signed_in()
    saw = await during(shop, upstream, fault, lambda s: s.inside.control("logout"))
    assert saw.status == 0, saw
    assert (await shop.inside.aws()).line == "juniper-aws: nobody is signed in; run: juniper login"
    await shop.heal()
    shop.inside.clock.pass_by(61)
    assert (await shop.inside.control("login", again=True)).status == 0
