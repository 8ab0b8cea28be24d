"""The broker in front of real sockets: one exchange for many, renewal ahead of need, calm while upstream is down."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from juniperd.broker import Account, Broker
from juniperd.errors import IssuerUnreachable, JuniperError, RelyingPartyRefused
from juniperd.exchanges import Exchange, Exchanged, IssuedTokenExpired
from juniperd.freshness import Window
from juniperd.identity import SubjectToken
from juniperd.jose import SigningKey
from juniperd.model import AwsCredential, CredentialRequest, IssuedToken, Kind, Secret, Target
from juniperd.skew import ClockSkew

from .doubles import FakeClock
from .harness import Running, until

REFUSAL = (
    403,
    {
        "error": "access_denied",
        "error_description": "merge only: you may merge into 'main' and not push to it; ask for push",
        "refusal": {"id": "r-1", "reason": "merge_only", "rule": "3"},
    },
)
DOWN = (503, {"error": "temporarily_unavailable", "error_description": "GitLab does not answer"})


async def key_of(running: Running) -> str:
    """The access key a tool gets now."""
    answer = await running.aws()
    assert answer.status == 0, answer.stderr
    return str(json.loads(answer.stdout)["AccessKeyId"])[-1]


async def settle(running: Running) -> None:
    """Let the renewals that were begun land."""
    await running.agent.broker._flights.drain(5.0)


async def test_two_hundred_cold_callers_are_one_exchange(running: Running) -> None:
    await running.login()
    answers = await asyncio.gather(*(running.aws() for _ in range(200)))
    assert {answer.status for answer in answers} == {0}
    assert len({answer.stdout for answer in answers}) == 1
    assert running.world.issuer.calls["/token"] == 1
    assert running.world.sts.calls["/"] == 1


async def test_fifty_callers_with_a_stale_sign_in_are_one_refresh_and_one_exchange(running: Running) -> None:
    await running.login()
    running.world.clock.now += 300
    answers = await asyncio.gather(*(running.aws() for _ in range(50)))
    assert {answer.status for answer in answers} == {0}
    assert running.world.idp.spent == {"refresh-1"}
    assert running.world.issuer.calls["/token"] == 1


async def test_a_helper_that_vanishes_does_not_stop_the_exchange(running: Running) -> None:
    await running.login()
    _reader, writer = await asyncio.open_unix_connection(running.path)
    writer.write(b"\x01a\x00\x00\x00\x0bjuniper-awsa\x00\x00\x00\x1e--scope=invoice-archive-writerg\x00\x00\x00\x00")
    await writer.drain()
    await until(lambda: len(running.agent.broker._flights))
    writer.close()
    await settle(running)
    assert running.world.sts.calls["/"] == 1
    await key_of(running)
    assert running.world.sts.calls["/"] == 1


async def test_renewed_behind_the_answer_with_twenty_minutes_left(running: Running) -> None:
    await running.login()
    assert await key_of(running) == "1"
    running.world.clock.now += 2550
    assert await key_of(running) == "1"
    await settle(running)
    assert await key_of(running) == "2"


async def test_under_fifteen_minutes_the_caller_waits_for_the_renewal(running: Running) -> None:
    await running.login()
    assert await key_of(running) == "1"
    running.world.clock.now += 2750
    assert await key_of(running) == "2"


async def test_renewed_ahead_of_need_without_a_caller(running: Running) -> None:
    await running.login()
    await key_of(running)
    running.world.clock.now += 2550
    await running.agent.broker.renew_due()
    await settle(running)
    assert running.world.sts.calls["/"] == 2
    running.world.clock.now += 2550
    await running.agent.broker.renew_due()
    await settle(running)
    assert running.world.sts.calls["/"] == 2, "nobody asked for an hour"
    assert list(running.agent.broker.held()) == []


@pytest.mark.parametrize("elapsed", [2550, 2750, 3590])
async def test_while_the_issuer_is_down_what_is_valid_is_served(running: Running, elapsed: int) -> None:
    await running.login()
    await key_of(running)
    running.world.issuer.fault["/token"] = DOWN
    running.world.clock.now += elapsed
    assert await key_of(running) == "1"
    await settle(running)
    assert await key_of(running) == "1"
    status = (await running.control("status")).events[-1]
    leases: Any = status["leases"]
    assert "GitLab does not answer" in leases[0]["problem"]


async def test_after_its_end_an_outage_is_an_error_and_not_a_storm(running: Running) -> None:
    await running.login()
    await key_of(running)
    running.world.issuer.fault["/token"] = DOWN
    running.world.clock.now += 3600
    answers = [await running.aws() for _ in range(20)]
    assert {answer.status for answer in answers} == {69}
    assert answers[0].stdout == b""
    assert answers[0].stderr.startswith(b"juniper-aws: the issuer cannot answer now: GitLab does not answer; ")
    assert running.world.issuer.calls["/token"] == 2
    del running.world.issuer.fault["/token"]
    running.world.clock.now += 5
    assert await key_of(running) == "2"


async def test_a_refusal_drops_the_lease_and_is_no_storm(running: Running) -> None:
    await running.login()
    await key_of(running)
    running.world.issuer.refusal = REFUSAL
    running.world.clock.now += 2750
    answers = [await running.aws() for _ in range(20)]
    line = answers[0].stderr.decode()
    assert line.startswith("juniper-aws: scope 'invoice-archive-writer' is refused: merge only: you may merge into ")
    assert line.endswith("'main' and not push to it (r-1); ask for push\n")
    assert len({answer.stderr for answer in answers}) == 1
    assert {answer.status for answer in answers} == {77}
    assert running.world.issuer.calls["/token"] == 2
    running.world.issuer.refusal = None
    await running.control("explain", scope="invoice-archive-writer")
    assert await key_of(running) == "2"


async def test_signing_in_again_clears_what_was_refused(running: Running) -> None:
    await running.login()
    running.world.issuer.refusal = REFUSAL
    await running.aws()
    running.world.issuer.refusal = None
    assert (await running.aws()).status == 77
    await running.login()
    assert (await running.aws()).status == 0


async def test_scopes_of_an_issuer_that_is_not_configured(running: Running) -> None:
    answer = await running.aws("elsewhere/archive")
    assert (
        answer.stderr == b"juniper-aws: no issuer 'elsewhere' is configured; run: juniper setup https://your-issuer\n"
    )
    assert (await running.aws("team/archive")).status == 77


async def test_requests_that_fail_leave_nothing_behind(running: Running) -> None:
    await running.login()
    running.world.issuer.refusal = REFUSAL
    for number in range(30):
        await running.aws(f"scope-{number}")
    assert running.agent.broker._asked == {}


class Person:
    """A sign-in that the test ends."""

    identity: str | None = "k1"

    def __init__(self) -> None:
        self.fresh: list[bool] = []

    async def wake(self) -> str:
        return self.identity or ""

    async def subject(self, *, fresh: bool = False) -> SubjectToken:
        self.fresh.append(fresh)
        return SubjectToken(Secret("t"), KEY)


class Issuer:
    """Issues whatever is asked."""

    def is_set_up_for(self, kind: Kind, host: str) -> bool:
        raise AssertionError((kind, host))

    def stands_for(self, kind: Kind, host: str) -> bool:
        raise AssertionError((kind, host))

    async def give_back(self, secret: Secret) -> None:
        raise AssertionError(secret)

    def known_scope(self, request: CredentialRequest) -> str | None:
        return request.scope

    async def scope(self, subject: SubjectToken, request: CredentialRequest) -> str:
        raise AssertionError((subject, request))

    async def derived(self, subject: SubjectToken, request: CredentialRequest) -> Target | None:
        del subject, request
        return None

    async def token(self, subject: SubjectToken, request: CredentialRequest, *, program: str = "") -> IssuedToken:
        del subject, program
        target = Target("aws-staging", Kind.AWS, 3600.0)
        return IssuedToken(Secret("t"), request.scope, 300.0, "d", target)


class Party:
    """An exchange whose answers the test scripts."""

    window = Window(renew_ahead=1200.0, wait_below=900.0)

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.script: list[JuniperError] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls = 0

    async def warm(self) -> None:
        return

    async def trade(self, issued: IssuedToken) -> Exchanged:
        del issued
        self.calls += 1
        await self.gate.wait()
        if self.script:
            raise self.script.pop(0)
        return Exchanged(AwsCredential("ASIA1", Secret("s"), Secret("t"), "1", "arn"), self.clock() + 3600.0)

    def close(self) -> None:
        return


KEY = SigningKey.generate_es256()
ASKED = CredentialRequest(scope="archive", kind=Kind.AWS)


@pytest.fixture
def person() -> Person:
    return Person()


@pytest.fixture
def party(clock: FakeClock) -> Party:
    return Party(clock)


@pytest.fixture
def skew(clock: FakeClock) -> ClockSkew:
    return ClockSkew(clock)


@pytest.fixture
def broker(clock: FakeClock, person: Person, party: Party, skew: ClockSkew) -> Broker:
    def exchange(_kind: Kind) -> Exchange:
        return party

    return Broker({"team": Account("team", person, Issuer())}, exchange, clock=clock, dice=lambda: 0.0, skew=skew)


async def test_a_waiter_that_gives_up_does_not_cancel_the_flight(broker: Broker, party: Party) -> None:
    party.gate.clear()
    impatient = asyncio.create_task(broker.lease(ASKED))
    patient = asyncio.create_task(broker.lease(ASKED))
    await asyncio.sleep(0.01)
    impatient.cancel()
    party.gate.set()
    assert (await patient).lease.key.scope == "archive"
    assert party.calls == 1


async def test_a_dead_issued_token_is_replaced_once_by_one_from_a_fresh_sign_in(
    broker: Broker, party: Party, person: Person
) -> None:
    party.script = [IssuedTokenExpired("expired")]
    await broker.lease(ASKED)
    assert person.fresh == [False, True]


async def test_a_clock_that_is_off_is_named_with_its_seconds(broker: Broker, party: Party, skew: ClockSkew) -> None:
    party.script = [IssuedTokenExpired("expired"), IssuedTokenExpired("expired")]
    skew.seconds = -421.0
    with pytest.raises(RelyingPartyRefused) as refused:
        await broker.lease(ASKED)
    assert "this machine's clock is 421 s behind the servers'" in str(refused.value)
    assert "timedatectl" in str(refused.value)


async def test_a_sign_in_that_changes_mid_flight_gets_nobody_elses_lease(
    broker: Broker, party: Party, person: Person
) -> None:
    party.gate.clear()
    waiting = asyncio.create_task(broker.lease(ASKED))
    await asyncio.sleep(0.01)
    person.identity = "k2"
    party.gate.set()
    with pytest.raises(IssuerUnreachable, match="sign-in changed"):
        await waiting
    assert list(broker.held()) == []
    await broker.lease(ASKED)
    assert party.calls == 2


async def test_a_slow_renewal_serves_what_is_still_valid(
    broker: Broker, party: Party, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("juniperd.broker.RENEWAL_PATIENCE", 0.02)
    first = await broker.lease(ASKED)
    clock.now += 2750
    party.gate.clear()
    assert await broker.lease(ASKED) is first
    party.gate.set()
    await broker.close()
    assert party.calls == 2
    assert broker.warm(ASKED) is not first


async def test_a_slow_first_exchange_says_so_and_goes_on(
    broker: Broker, party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("juniperd.broker.PATIENCE", 0.02)
    party.gate.clear()
    with pytest.raises(IssuerUnreachable, match="still on its way"):
        await broker.lease(ASKED)
    party.gate.set()
    await broker.close()
    assert broker.warm(ASKED) is not None


async def test_the_timer_sleeps_until_the_next_deadline(broker: Broker, party: Party, clock: FakeClock) -> None:
    timer = asyncio.create_task(broker.run())
    await broker.lease(ASKED)
    await asyncio.sleep(0.02)
    assert party.calls == 1
    clock.now += 2500
    broker._changed.set()
    await asyncio.sleep(0.02)
    assert party.calls == 2
    timer.cancel()
