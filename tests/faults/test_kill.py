"""Agent and issuer die (-9) at thirty moments of a seeded schedule; ``make faults`` runs them all."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest

from tests.faults.points import OPERATIONS, VICTIMS, Row, kill

pytestmark = pytest.mark.e2e
SEED, POINTS = 3, 24


def test_nothing_is_lost_leaked_or_doubled_whoever_dies_when(capsys: pytest.CaptureFixture[str]) -> None:
    """Each point checks what the caller saw, the trail, the sessions, the refresh tokens and the logs."""
    told: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="jun-") as place:
        rows = asyncio.run(kill(Path(place), seed=SEED, points=POINTS, tell=told.append))
    assert rows == told
    assert len(rows) == POINTS
    assert {(row.point.operation.name, row.point.victim) for row in rows} == {
        (operation.name, victim) for operation in OPERATIONS for victim in VICTIMS
    }
    # What is in somebody's memory shortens an operation, so one or two outlive theirs.
    assert sum(row.died_at != "nowhere" for row in rows) >= POINTS - 4
    assert capsys.readouterr().err.count("Traceback") == 0
