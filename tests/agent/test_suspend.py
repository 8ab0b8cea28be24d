"""A laptop sleeps: the wall clock goes on for hours while the loop's stands still, and nobody gets what expired meanwhile."""

from __future__ import annotations

import asyncio
import json

import pytest

from juniperd.broker import Account, Broker
from juniperd.errors import RelyingPartyRefused
from juniperd.exchanges import Exchanged
from juniperd.model import IssuedToken
from juniperd.skew import ClockSkew

from .doubles import FakeClock
from .harness import Running, until
from .test_broker import ASKED, DOWN, Issuer, Party, Person, key_of

HOURS = 8 * 3600.0


async def test_the_first_caller_after_waking_gets_what_is_fresh(running: Running) -> None:
    await running.login()
    assert await key_of(running) == "1"
    running.world.clock.now += HOURS
    assert await key_of(running) == "2"
    assert running.world.idp.spent == {"refresh-1"}, "the ID token slept too"
    assert running.world.idp.calls["/device"] == 1


async def test_all_who_ask_at_once_after_waking_share_one_exchange(running: Running) -> None:
    await running.login()
    await key_of(running)
    running.world.clock.now += HOURS
    answers = await asyncio.gather(*(running.aws() for _ in range(50)))
    assert {json.loads(answer.stdout)["AccessKeyId"][-1] for answer in answers} == {"2"}
    assert running.world.sts.calls["/"] == 2


async def test_after_waking_where_there_is_no_network_nobody_gets_what_expired(running: Running) -> None:
    await running.login()
    await key_of(running)
    running.world.clock.now += HOURS
    running.world.issuer.fault["/token"] = DOWN
    answer = await running.aws()
    assert (answer.status, answer.stdout) == (69, b"")
    del running.world.issuer.fault["/token"]
    running.world.clock.now += 5
    assert await key_of(running) == "2"


@pytest.mark.parametrize(("slept", "keys"), [(1800, "11"), (2500, "12"), (2800, "22"), (3599, "22"), (3600, "22")])
async def test_waking_at_any_age_of_a_lease_serves_it_or_waits(running: Running, slept: int, keys: str) -> None:
    """Fresh is served; stale is served and renewed behind; under fifteen minutes, and expired, is waited for."""
    await running.login()
    assert await key_of(running) == "1"
    running.world.clock.now += slept
    first = await key_of(running)
    await running.agent.broker._flights.drain(5.0)
    assert first + await key_of(running) == keys


async def test_a_sign_in_that_ended_meanwhile_says_so(running: Running) -> None:
    await running.login()
    await key_of(running)
    running.world.clock.now += 13 * 3600.0
    answer = await running.aws()
    assert (answer.status, answer.stdout) == (77, b"")
    assert answer.stderr == b"juniper-aws: the sign-in has reached its end; run: juniper login\n"


async def test_what_is_due_is_renewed_soon_after_waking_without_a_caller(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer's own clock says that there is most of an hour to go."""
    monkeypatch.setattr("juniperd.broker.LONGEST_PAUSE", 0.01)
    await running.login()
    await key_of(running)
    running.world.clock.now += 2700
    # STS has been asked before its answer is in the table.
    await until(lambda: [held.lease.issued_at for held in running.agent.broker.held()] == [running.world.clock.now])
    assert running.world.sts.calls["/"] == 2
    assert await key_of(running) == "2"


class Late(Party):
    """Its answers are under way while the laptop sleeps, for so many seconds each."""

    def __init__(self, clock: FakeClock, *sleeps: float) -> None:
        super().__init__(clock)
        self.sleeps = list(sleeps)

    async def trade(self, issued: IssuedToken) -> Exchanged:
        exchanged = await super().trade(issued)
        self.clock.now += self.sleeps.pop(0) if self.sleeps else 0.0
        return exchanged


def before(party: Party, clock: FakeClock) -> Broker:
    """A broker whose relying party that is."""
    account = Account("team", Person(), Issuer())
    return Broker({"team": account}, lambda _kind: party, clock=clock, dice=lambda: 0.0, skew=ClockSkew(clock))


async def test_a_credential_that_was_on_its_way_meanwhile_is_asked_for_again(clock: FakeClock) -> None:
    party = Late(clock, HOURS)
    held = await before(party, clock).lease(ASKED)
    assert party.calls == 2
    assert held.lease.expires_at == clock.now + 3600


async def test_one_that_slept_for_less_is_good_enough(clock: FakeClock) -> None:
    party = Late(clock, 3000.0)
    held = await before(party, clock).lease(ASKED)
    assert (party.calls, held.lease.expires_at) == (1, clock.now + 600)


async def test_a_clock_by_which_all_that_comes_has_expired_is_no_endless_loop(clock: FakeClock) -> None:
    party = Late(clock, HOURS, HOURS)
    with pytest.raises(RelyingPartyRefused, match="had expired when it arrived"):
        await before(party, clock).lease(ASKED)
    assert party.calls == 2
