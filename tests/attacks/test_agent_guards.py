"""Lines of the agent's that could be broken without any test's notice."""

from __future__ import annotations

from juniperd.model import Clock, CredentialRequest, Kind, Session
from juniperd.rate import Rate
from juniperd.sessions import SessionLender
from tests.agent.doubles import FakeClock
from tests.agent.harness import Running
from tests.agent.test_hosts import REGISTRY, docker


class Asked:
    """What a session passes on."""

    def __init__(self) -> None:
        self.requests: list[CredentialRequest] = []

    def warm(self, request: CredentialRequest) -> None:
        self.requests.append(request)


def test_a_session_s_socket_means_its_own_scopes_alone_by_a_host(clock: Clock) -> None:
    session = Session("0" * 12, "team", "shop/billing", "staging", None, ("image-reader",), clock() + 60)
    broker = Asked()
    lender = SessionLender(broker, session, clock=clock, over=lambda: None)  # type: ignore[arg-type]
    lender.warm(CredentialRequest(scope="", kind=Kind.REGISTRY, host=REGISTRY))
    assert broker.requests[0].among == ("image-reader",)


async def test_long_requests_are_not_remembered(shop: Running) -> None:
    await shop.login()
    for number in range(5):
        assert (await docker(shop, f"{REGISTRY}/shop/billing/{number:09000}")).status == 0
    assert shop.agent._server is not None
    assert shop.agent._server._parsed == {}


def test_addresses_that_are_many_are_forgotten_by_the_oldest(clock: FakeClock) -> None:
    rate = Rate(60, clock=clock)
    for number in range(10_050):
        rate.spend(number)
    assert len(rate._buckets) == 10_000
    assert 49 not in rate._buckets
