"""A server's clock that is set back."""

from __future__ import annotations

from juniperd.rate import Rate
from tests.issuer.doubles import Clock


def test_it_shuts_nobody_out_until_the_clock_comes_here_again() -> None:
    clock = Clock()
    rate = Rate(2, clock=clock)
    while rate.spend("issuer"):
        pass
    clock.pass_(-3600)
    assert not rate.exhausted("issuer")
    assert [rate.spend("issuer") for _ in range(3)] == [True, True, False]
