"""Names of others in a merge request's comment, so many that a line of it has to be cut."""

from __future__ import annotations

from juniperd.issuer import review
from juniperd.issuer.gains import Gainer, ScopeGains
from juniperd.issuer.lint import Finding
from juniperd.issuer.policy import Policy
from juniperd.issuer.review import Review


def test_a_cut_leaves_no_name_outside_its_code() -> None:
    places = tuple(f"staging on branch:release/{n}<img/src=x>@all" for n in range(200))
    people = [ScopeGains("release-publisher", "shop/billing", (Gainer(7, "7-developer", "developer", places),), ())]
    found = Finding("wide-pattern", ("scope", "release-publisher"), "@all " * 2000, "<b>" * 2000)
    told = review.text(Review(Policy({}, {}), [found], Policy({}, {}), (), people), "markdown")
    lines = [line for line in told.splitlines() if "@all" in line]
    assert len(lines) == 2
    for line in lines:
        outside = line.split("`")[::2]
        assert line.count("`") % 2 == 0
        assert not any("@" in part or "<" in part for part in outside)
