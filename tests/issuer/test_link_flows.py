"""The memory of links under way: bounded in number and time, taken once, never found by an old cookie."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from juniperd.issuer import config as configuration
from juniperd.issuer.code_flow import Client, Trip
from juniperd.issuer.facts import User
from juniperd.issuer.inquiry import OnPage
from juniperd.issuer.link_flows import LIFE, MOST, Asked, AtGitlab, AtProvider, Done, Flows
from juniperd.issuer.linking import Pair, Person
from juniperd.model import Secret
from tests.issuer.doubles import Clock, write_files

CLIENT = Client("https://idp.test", "juniper-link", "https://issuer.test/link/idp/okta", ("openid",), 3900.0, ())
TRIP = Trip(CLIENT, "state", "nonce", Secret("verifier"), 0.0)
PERSON = Person(OnPage("okta", "u-1", "https://issuer.test/link"), "contractor", "Sign-in")
PAIR = Pair(PERSON, User(13, "contractor", "active", bot=False, locked=False, identities=frozenset()))
KNOWN = AtGitlab(PERSON, TRIP)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def flows(clock: Clock) -> Flows:
    numbers = itertools.count()
    return Flows(clock=clock, throw=lambda: f"cookie-{next(numbers)}", most=3)


@pytest.fixture
def stranger(tmp_path: Path) -> AtProvider:
    (identity,) = configuration.load(
        write_files(tmp_path, gitlab="http://127.0.0.1:1", idp="http://127.0.0.1:2")
    ).identities.values()
    return AtProvider(identity, TRIP)


def begun(flows: Flows, stage: AtProvider | AtGitlab) -> str:
    cookie = flows.begin(stage)
    assert cookie is not None
    return cookie


def test_a_flow_is_taken_once_and_goes_on_under_another_cookie(flows: Flows, clock: Clock) -> None:
    first = begun(flows, KNOWN)
    began = flows.take(first)
    assert began == clock.now
    assert (flows.take(first), flows.stage(first)) == (None, None)
    second = flows.go_on(Asked(PAIR, Secret("t")), began)
    assert second != first
    assert isinstance(flows.stage(second), Asked)


def test_a_flow_ends_ten_minutes_after_its_first_step_whatever_comes_between(flows: Flows, clock: Clock) -> None:
    cookie = begun(flows, KNOWN)
    clock.pass_(LIFE - 1)
    began = flows.take(cookie)
    assert began is not None
    cookie = flows.go_on(KNOWN, began)
    assert flows.stage(cookie) is KNOWN
    clock.pass_(1)
    assert flows.stage(cookie) is None
    assert flows.take(cookie) is None


def test_a_clock_that_went_back_ends_what_was_under_way(flows: Flows, clock: Clock) -> None:
    cookie = begun(flows, KNOWN)
    clock.pass_(-1)
    assert flows.stage(cookie) is None


def test_the_oldest_stranger_gives_way_and_who_is_known_never_does(flows: Flows, stranger: AtProvider) -> None:
    known, first, second = begun(flows, KNOWN), begun(flows, stranger), begun(flows, stranger)
    third = begun(flows, stranger)
    assert flows.stage(first) is None
    assert [flows.stage(c) for c in (known, second, third)] == [KNOWN, stranger, stranger]


def test_where_everybody_is_known_nobody_begins(flows: Flows, stranger: AtProvider, clock: Clock) -> None:
    for _ in range(3):
        begun(flows, KNOWN)
    assert flows.begin(stranger) is None
    clock.pass_(LIFE)
    assert flows.begin(stranger) is not None
    assert MOST >= 1000


def test_the_first_end_counts(flows: Flows) -> None:
    cookie = begun(flows, KNOWN)
    token = Secret("t")
    flows.settle(cookie, Done(PAIR, token, new=True))
    assert flows.stage(cookie) is KNOWN
    began = flows.take(cookie)
    assert began is not None
    cookie = flows.go_on(Asked(PAIR, token), began)
    for new in (True, False):
        flows.settle(cookie, Done(PAIR, token, new=new))
    assert flows.stage(cookie) == Done(PAIR, token, new=True)
    flows.settle("unknown", Done(PAIR, token, new=True))


def test_no_cookie_stands_in_memory(flows: Flows) -> None:
    cookie = begun(flows, KNOWN)
    assert cookie not in repr(flows._flows)
    assert "verifier" not in repr(replace(TRIP, state="other")).replace("verifier=Secret(***)", "")
