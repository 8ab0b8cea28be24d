"""Names of others in a merge request's comment, so many that a line of it has to be cut."""

from __future__ import annotations

import asyncio
from typing import cast

from juniperd.issuer import review
from juniperd.issuer.facts import Trouble
from juniperd.issuer.gains import Gainer, Gains, ScopeGains
from juniperd.issuer.gitlab import Gitlab, Question, Reply
from juniperd.issuer.lint import Finding
from juniperd.issuer.policy import Policy
from juniperd.issuer.review import Review
from tests.issuer.doubles import NOW, member
from tests.issuer.worlds import World


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


class Repeating(World):
    """A GitLab that lists a member for every place that they are a member of."""

    async def ask(self, question: Question, *, life: float = 0.0) -> Reply | Trouble:
        if question.path[2:] == ("members", "all"):
            return Reply([member(7, 30), member(7, 30), member(7, 40)], NOW)
        return await super().ask(question, life=life)


def test_a_member_who_is_listed_twice_is_named_once() -> None:
    gains = Gains(cast("Gitlab", Repeating()), unlicensed=False, clock=lambda: NOW)
    members = asyncio.run(gains._members(42, "shop/billing"))
    assert [one.id for one in members] == [7]
