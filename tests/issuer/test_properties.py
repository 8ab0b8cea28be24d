"""Policy and matching against naive references, over inputs nobody thought of."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from juniperd.issuer import glob, protection
from juniperd.issuer.decision import decide
from juniperd.issuer.facts import Asked, Environment, Fact, Facts, Membership, Project, User
from juniperd.issuer.policy import Activation, LaptopProduction, Policy
from juniperd.issuer.protection import Branch, Entry, GroupLevel, Holder, ProtectedEnvironment, guess_tier
from juniperd.issuer.selection import select
from juniperd.issuer.verdict import Case, Permitted, SignIn
from juniperd.model import Origin
from tests.issuer.test_gitlab_answers import IDENTITY, SCOPE

TODAY = date(2026, 9, 21)
ASKED = Asked("GET", "", 0.0)


def naive_match(pattern: str, text: str, *, stops: bool) -> bool:
    """Backtracking, one character at a time."""
    if not pattern:
        return not text
    if pattern[0] != "*":
        return bool(text) and text[0] == pattern[0] and naive_match(pattern[1:], text[1:], stops=stops)
    double = stops and pattern.startswith("**")
    rest = pattern[2:] if double else pattern[1:]
    for end in range(len(text) + 1):
        if stops and not double and "/" in text[:end]:
            return False
        if naive_match(rest, text[end:], stops=stops):
            return True
    return False


short = st.text("ab/", max_size=6)


@given(st.text("ab/*", max_size=6).filter(lambda p: "***" not in p), short)
def test_globs_are_the_naive_ones(pattern: str, text: str) -> None:
    assert glob.matches(pattern, text) == naive_match(pattern, text, stops=True)


@given(st.text("ab/*", max_size=6), short)
def test_gitlabs_wildcard_is_the_naive_one(pattern: str, text: str) -> None:
    assert protection.matches(pattern, text) == naive_match(pattern, text, stops=False)


@given(st.text("ab/*", max_size=6).filter(lambda p: "***" not in p), short)
def test_globs_that_disregard_case_are_the_naive_ones(pattern: str, text: str) -> None:
    assert glob.matches(pattern.upper(), text, fold=True) == naive_match(pattern, text, stops=True)
    assert glob.matches(pattern, text.upper(), fold=True) == naive_match(pattern, text, stops=True)


@pytest.mark.parametrize(
    "pattern", ["*a" * 5 + "b", "a**" * 7 + "b", "r" + "*a" * 6 + "b", "*" * 200, "a*" * 100 + "b"]
)
@pytest.mark.parametrize("fold", [False, True])
def test_no_pattern_takes_long_over_any_name(pattern: str, fold: bool) -> None:
    """A Maintainer of one project writes the one and a Developer the other; the issuer answers for everybody."""
    name = pattern[0] + "a" * 250
    started = time.monotonic()
    protection.matches(pattern, name)
    glob.matches(pattern, name, fold=fold)
    assert time.monotonic() - started < 0.5


entries = st.lists(
    st.sampled_from(
        [
            Entry(Holder.ROLE, 30),
            Entry(Holder.ROLE, 40),
            Entry(Holder.USER, 7),
            Entry(Holder.USER, 8),
            Entry(Holder.GROUP, 9),
            Entry(Holder.NOBODY),
        ]
    ),
    max_size=3,
).map(tuple)
branches = st.lists(st.builds(Branch, st.sampled_from(["main", "m*", "*", "x"]), entries, entries), max_size=3).map(
    tuple
)


def protections(names: list[str], group: int | None) -> st.SearchStrategy[tuple[ProtectedEnvironment, ...]]:
    made = st.builds(
        ProtectedEnvironment, st.sampled_from(names), entries, st.booleans(), st.just("somewhere"), st.just(group)
    )
    return st.lists(made, max_size=2).map(tuple)


worlds = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["active", "active", "blocked"]),
        "bot": st.sampled_from([False, False, True]),
        "level": st.sampled_from([None, 10, 20, 30, 30, 40, 50]),
        "expires": st.sampled_from([None, None, TODAY, date(2026, 9, 22)]),
        "archived": st.sampled_from([False, False, True]),
        "branches": branches,
        "ref": st.sampled_from([None, "branch:main"]),
        "refs": st.sampled_from([frozenset({"branch:main"}), frozenset({"branch:main", "tag:main"}), frozenset()]),
        "tier": st.sampled_from(["staging", "production", "other"]),
        "own": protections(["staging", "production", "s*"], None),
        "above": protections(["staging", "production", "other"], 5),
        "level_above": st.sampled_from([0, 10, 30, 40, 40, 50]),
        "environment": st.sampled_from(["staging", "staging", "production"]),
        "users": st.sampled_from([None, frozenset({7}), frozenset({8})]),
        "until": st.sampled_from([TODAY, date(2026, 9, 20)]),
        "merge": st.booleans(),
        "role": st.sampled_from([20, 30, 40]),
        "sleeps": st.booleans(),
        "mfa": st.sampled_from([True, True, False]),
        "laptop": st.sampled_from([True, True, False]),
    }
)
World = dict[str, object]


def allows(entry: Entry, level: int) -> bool:
    return (entry.holder is Holder.ROLE and level >= entry.value) or entry == Entry(Holder.USER, 7)


def naive(w: World) -> bool:  # noqa: C901, PLR0911  # a reference is read from top to bottom
    """The design's checks in plain words, in no order."""
    level = w["level"]
    if not isinstance(level, int) or w["state"] != "active" or w["bot"] or w["archived"] or not w["mfa"]:
        return False
    if w["expires"] == TODAY or level < max(30, w["role"]) or w["sleeps"] or not w["laptop"]:  # type: ignore[call-overload]
        return False
    for branch in w["branches"]:  # type: ignore[attr-defined]
        push = any(allows(e, level) for e in branch.push)
        merge = any(allows(e, level) for e in branch.merge)
        if w["ref"] is None and branch.name == "*" and not push:
            return False
        covers = branch.name in ("main", "m*", "*")
        if w["ref"] is not None and covers and not (push or (merge and w["merge"])):
            return False
    if w["ref"] is not None and w["refs"] != {"branch:main"}:
        return False
    environment = str(w["environment"])
    tiers = {w["tier"], guess_tier(environment)}
    for found in w["own"]:  # type: ignore[attr-defined]
        covers = found.name == environment or (found.name == "s*" and environment == "staging")
        if covers and (found.approvals or not any(allows(e, level) for e in found.deploy)):
            return False
    for found in w["above"]:  # type: ignore[attr-defined]
        if found.name in tiers and (found.approvals or not any(allows(e, w["level_above"]) for e in found.deploy)):  # type: ignore[arg-type]
            return False
    if environment == "production":
        return w["users"] == {7} and w["until"] == TODAY
    return True


def case(w: World) -> Case:
    """The same world as a case."""
    level = w["level"]
    member = Membership(level, w["expires"], active=True) if isinstance(level, int) else None  # type: ignore[arg-type]
    user = User(7, "developer", str(w["state"]), bool(w["bot"]), locked=False, identities=frozenset())
    project = Project(42, "shop/billing", 5, "shop", True, bool(w["archived"]), False, True, True)
    environment = str(w["environment"])
    facts = Facts(
        link=Fact(ASKED, 7),
        user=Fact(ASKED, user),
        project=Fact(ASKED, project),
        membership=Fact(ASKED, member),
        branches=Fact(ASKED, w["branches"]),  # type: ignore[arg-type]
        tags=Fact(ASKED, ()),
        environment=Fact(ASKED, Environment(1, environment, environment, str(w["tier"]), "available")),
        protected_environments=(Fact(ASKED, w["own"]), Fact(ASKED, w["above"])),  # type: ignore[arg-type]
        groups=Fact(ASKED, frozenset({"shop"})),
        named_refs=Fact(ASKED, w["refs"]) if w["ref"] else None,  # type: ignore[arg-type]
        group_levels=(Fact(ASKED, GroupLevel(9, 50)), Fact(ASKED, GroupLevel(5, w["level_above"]))),  # type: ignore[arg-type]
    )
    users = w["users"]
    scope = replace(
        SCOPE,
        environment=environment,
        ref=w["ref"],  # type: ignore[arg-type]
        role=w["role"],  # type: ignore[arg-type]
        laptop_basis="merge" if w["merge"] else "push",
        laptop_production=LaptopProduction(users, w["until"]) if users else None,  # type: ignore[arg-type]
        activation=Activation.SESSION if w["sleeps"] else Activation.SIGN_IN,
        origins=frozenset({Origin.LAPTOP}) if w["laptop"] else frozenset({Origin.PIPELINE}),
    )
    amr = frozenset({"mfa"}) if w["mfa"] else frozenset()
    selection = select(scope, environment=None, ref=None)
    return Case(Policy({scope.name: scope}, {}), scope, SignIn(IDENTITY, "device", amr), selection, facts, TODAY)


@settings(max_examples=2000, deadline=None)
@given(worlds)
def test_the_verdict_is_the_naive_one(w: World) -> None:
    assert isinstance(decide(case(w)), Permitted) == naive(w)


@settings(max_examples=300, deadline=None)
@given(worlds)
def test_one_protection_more_never_permits_more(w: World) -> None:
    if isinstance(decide(case(w)), Permitted):
        return
    more = Branch("*", (Entry(Holder.ROLE, 40),), ())
    assert not isinstance(decide(case(w | {"branches": (*w["branches"], more)})), Permitted)  # type: ignore[misc]
