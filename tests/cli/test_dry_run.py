"""What a job narrows a session to, of the scopes that a person may see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from juniperd.cli import debug
from juniperd.cli.dry_run import OfJob, Row
from juniperd.errors import GrantRefused, UsageError

ROWS: list[Row] = [
    {"name": "writer", "environment": "staging", "ref": None, "held": True},
    {"name": "publisher", "environment": "staging", "ref": "branch:main", "held": False},
    {"name": "review-debugger", "environment": "review/*", "ref": None, "held": False},
    {"name": "release-reader", "environment": "staging", "ref": "branch:release/*", "held": False},
]
JOB = OfJob("deploy", "staging", "branch:release/1")


def test_a_pattern_s_scope_is_held_by_nobody_before_the_job_chooses_its_place() -> None:
    mine = [row for row in ROWS if JOB.holds(row)]
    assert [row["name"] for row in mine] == ["writer", "release-reader"]
    assert JOB.scopes(mine) == ["writer", "release-reader"]
    review = replace(JOB, environment="review/42")
    assert [row["name"] for row in ROWS if review.holds(row)] == ["review-debugger"]
    assert review.scopes(ROWS[2:3]) == ["review-debugger"]
    with pytest.raises(GrantRefused, match="you hold no scope of the job 'deploy'; run: juniper scopes"):
        JOB.scopes(ROWS[1:2])


def test_a_ref_is_selected_only_where_every_scope_names_one() -> None:
    assert JOB.selects(ROWS, ["writer", "release-reader"]) is None
    assert JOB.selects(ROWS, ["release-reader"]) == "branch:release/1"


def test_a_scope_that_is_named_where_the_job_has_none_is_guessed_among_none() -> None:
    with pytest.raises(
        UsageError, match="shop/billing has no scope 'writer' for staging that is the job's; run: juniper scopes"
    ):
        debug._scopes(["writer"], [], "shop/billing", "staging", of_job=True)
