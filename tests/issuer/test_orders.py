"""Orders as rows: their states, who is known by a token, and what ends which."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from juniperd.issuer import audit, orders, state
from juniperd.issuer.orders import Entry
from juniperd.model import Secret
from tests.issuer.doubles import NOW
from tests.issuer.minter_double import everything

ENTRY = Entry("o-1", "d-1", "okta", "u-developer", "key", 7, "image-reader", "s-1", 42, NOW, NOW + 3600)
SECRET = Secret("gldt-0123456789")


@pytest.fixture
def base() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript("".join(state._STEPS))
        yield connection


def out(base: sqlite3.Connection, entry: Entry = ENTRY, secret: Secret = SECRET) -> None:
    orders.add(base, entry)
    assert orders.let_out(base, entry.id, digest=orders.digest_of(secret), ends_at=entry.ends_at)


def states(base: sqlite3.Connection) -> dict[str, str]:
    return {entry.id: entry.state for entry in everything(base)}


def test_a_row_comes_back_as_it_went(base: sqlite3.Connection) -> None:
    orders.add(base, ENTRY)
    assert everything(base) == [ENTRY]


def test_it_goes_from_ordered_to_out_to_ending_to_ended(base: sqlite3.Connection) -> None:
    out(base)
    assert states(base) == {"o-1": "out"}
    assert orders.ending(base, NOW) == []
    assert orders.end(base, "o-1", "revoked")
    (entry,) = orders.ending(base, NOW)
    assert (entry.state, entry.cause) == ("ending", "revoked")
    orders.ended(base, entry, NOW)
    assert (states(base), orders.ending(base, NOW)) == ({"o-1": "ended"}, [])
    (record,) = audit.records(base)
    assert (record["event"], record["order"], record["cause"]) == ("order_ended", "o-1", "revoked")


def test_one_that_was_ended_is_not_let_out_and_not_ended_again(base: sqlite3.Connection) -> None:
    orders.add(base, ENTRY)
    assert orders.end(base, "o-1", "denied")
    assert not orders.let_out(base, "o-1", digest="d", ends_at=NOW)
    assert not orders.end(base, "o-1", "revoked")
    assert everything(base)[0].cause == "denied"


def test_past_its_end_nothing_is_left_to_do(base: sqlite3.Connection) -> None:
    out(base)
    orders.end(base, "o-1", "revoked")
    assert len(orders.ending(base, NOW + 3599)) == 1
    assert orders.ending(base, NOW + 3600) == []


def test_a_token_is_known_by_its_key_alone(base: sqlite3.Connection) -> None:
    out(base)
    found = orders.held(base, SECRET, "key")
    assert found is not None
    assert found.id == "o-1"
    assert orders.held(base, SECRET, "another") is None
    assert orders.held(base, Secret("gldt-other"), "key") is None


def test_an_old_one_is_forgotten_when_a_new_one_comes(base: sqlite3.Connection) -> None:
    orders.add(base, ENTRY)
    later = ENTRY.ends_at + orders.REMEMBERED
    orders.add(base, replace(ENTRY, id="o-2", ordered_at=later, ends_at=later + 60))
    assert list(states(base)) == ["o-1", "o-2"]
    orders.add(base, replace(ENTRY, id="o-3", ordered_at=later + 1, ends_at=later + 60))
    assert list(states(base)) == ["o-2", "o-3"]


OTHERS = {
    "session": replace(ENTRY, id="other-session", session=None),
    "user": replace(ENTRY, id="other-user", user_id=8),
    "scope": replace(ENTRY, id="other-scope", scope="image-writer"),
}


@pytest.mark.parametrize(
    ("end", "left"),
    [
        (lambda c: orders.end_of_session(c, "s-1"), {"other-session"}),
        (lambda c: orders.end_of_user(c, 7, "denied"), {"other-user"}),
        (lambda c: orders.end_of_scope(c, "image-reader", "denied"), {"other-scope"}),
        (lambda c: orders.end_all(c, "denied"), set()),
    ],
)
def test_each_cause_ends_its_own(
    base: sqlite3.Connection, end: Callable[[sqlite3.Connection], None], left: set[str]
) -> None:
    for entry in (ENTRY, *OTHERS.values()):
        out(base, entry)
    end(base)
    assert {number for number, state in states(base).items() if state == "out"} == left


def test_what_was_ordered_by_a_former_process_is_lost_and_what_was_out_is_not(base: sqlite3.Connection) -> None:
    orders.add(base, ENTRY)
    out(base, replace(ENTRY, id="o-2"))
    orders.end_lost(base)
    assert states(base) == {"o-1": "ending", "o-2": "out"}
    assert everything(base)[0].cause == "lost"
