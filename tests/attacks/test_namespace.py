"""A scope that names a namespace is of that namespace for laptops too: no job of another holds it."""

from __future__ import annotations

from juniperd.issuer import policy_diff
from juniperd.issuer.policy import Policy
from juniperd.issuer.verdict import Permitted, Refused
from tests.issuer.worlds import World, a_scope


def test_a_laptop_is_held_to_the_namespace_that_a_job_is_held_to() -> None:
    _, verdict = World().judged(a_scope(namespace_id=6))
    assert isinstance(verdict, Refused)
    assert verdict.reason == "namespace_mismatch"
    assert World().compared(a_scope(namespace_id=6)).within
    assert isinstance(World().judged(a_scope(namespace_id=5))[1], Permitted)


def test_a_namespace_that_goes_is_a_gain() -> None:
    old, new = (Policy({s.name: s}, {}) for s in (a_scope(namespace_id=6), a_scope()))
    assert policy_diff.compare(old, new) == ["gains: invoice-archive-writer namespace_id was 6, is nothing"]
    assert policy_diff.compare(new, old) == ["loses: invoice-archive-writer namespace_id was nothing, is 6"]
