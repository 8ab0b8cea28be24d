"""The clock's skew: read off answers that were quick, named where it breaks things."""

from __future__ import annotations

import pytest

from juniperd.skew import ClockSkew

from .doubles import START, FakeClock


@pytest.mark.parametrize(
    ("date", "complaint"),
    [
        (START, None),
        (START - 60, None),
        (START + 59, None),
        (START - 421, "this machine's clock is 420 s ahead of the servers'"),
        (START + 420, "this machine's clock is 420 s behind the servers'"),
    ],
)
def test_more_than_a_minute_is_named_with_its_seconds(clock: FakeClock, date: float, complaint: str | None) -> None:
    skew = ClockSkew(clock)
    skew.observe(date, asked_at=clock())
    assert skew.complaint == complaint


def test_an_answer_that_slept_with_the_laptop_says_nothing(clock: FakeClock) -> None:
    skew = ClockSkew(clock)
    asked_at = clock()
    clock.now += 8 * 3600
    skew.observe(START, asked_at=asked_at)
    skew.observe(None, asked_at=clock())
    assert skew.seconds == 0.0
