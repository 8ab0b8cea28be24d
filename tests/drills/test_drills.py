"""Every drill keeps its bound."""

from __future__ import annotations

import pytest

from tests.drills.drills import DRILLS, Drill, measure
from tests.e2e.conftest import account, companies, inside
from tests.e2e.whole import Whole

__all__ = ["account", "companies", "inside"]


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)
async def test_what_was_taken_away_is_minted_no_longer_than_the_design_says(inside: Whole, drill: Drill) -> None:
    assert await measure(inside, drill) <= drill.bound
    records = inside.events("decision")
    assert records[0]["verdict"] == "permitted"


def test_every_bound_is_the_designs() -> None:
    assert {drill.bound for drill in DRILLS} <= {0.0, 60.0, 660.0, 600.0}
