"""A scope that names a namespace is of that namespace for laptops too: no job of another holds it."""

from __future__ import annotations

from juniperd.issuer.verdict import Permitted, Refused
from tests.issuer.worlds import World, a_scope


def test_a_laptop_is_held_to_the_namespace_that_a_job_is_held_to() -> None:
    _, verdict = World().judged(a_scope(namespace_id=6))
    assert isinstance(verdict, Refused)
    assert verdict.reason == "namespace_mismatch"
    assert World().compared(a_scope(namespace_id=6)).within
    assert isinstance(World().judged(a_scope(namespace_id=5))[1], Permitted)
