"""Corners that the tables do not reach: each is a refusal, or a shape of somebody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from juniperd.errors import TokenRejected
from juniperd.issuer import cuts, decision, protection
from juniperd.issuer.facts import Fact, Malformed, Trouble, project_of, protected_environment_of, user_of
from juniperd.issuer.inquiry import Who
from juniperd.issuer.limits import Rate
from juniperd.issuer.link_rule import LinkRule
from juniperd.issuer.policy import KubernetesTarget, RelyingParty
from juniperd.issuer.subject import _subject
from juniperd.issuer.verdict import Case, Refused, Selection
from juniperd.jose import VerifiedClaims
from juniperd.model import Kind
from tests.issuer.doubles import NOW, PARTIES, POLICY, Clock, Company, open_company, project, user
from tests.issuer.test_gitlab_answers import IDENTITY, SCOPE
from tests.issuer.test_properties import ASKED, TODAY, World, case

GOOD: World = {
    "state": "active",
    "bot": False,
    "level": 30,
    "expires": None,
    "archived": False,
    "branches": (),
    "ref": "branch:main",
    "refs": frozenset({"branch:main"}),
    "tier": "staging",
    "own": (),
    "above": (),
    "level_above": 0,
    "environment": "staging",
    "users": None,
    "until": TODAY,
    "merge": False,
    "role": 30,
    "sleeps": False,
    "mfa": True,
    "laptop": True,
}
GONE: Fact[Any] = Fact(ASKED)
HIDDEN: Fact[Any] = Fact(ASKED, trouble=Trouble("hidden", passing=False, text="hidden"))


def refused(changed: Case) -> str:
    verdict = decision.decide(changed)
    assert isinstance(verdict, Refused)
    return f"{verdict.rule} {verdict.reason}"


def test_the_good_case_is_good() -> None:
    assert not isinstance(decision.decide(case(GOOD)), Refused)


@pytest.mark.parametrize(
    "name", ["link", "user", "project", "membership", "branches", "environment", "groups", "named_refs"]
)
@pytest.mark.parametrize("fact", [HIDDEN])
def test_each_fact_that_is_hidden_refuses(name: str, fact: Fact[Any]) -> None:
    good = case(GOOD)
    change: dict[str, Any] = {name: fact}
    assert refused(replace(good, facts=replace(good.facts, **change))).endswith("hidden")


@pytest.mark.parametrize("name", ["user", "project", "membership", "environment", "groups", "branches"])
def test_each_fact_that_is_not_there_refuses(name: str) -> None:
    good = case(GOOD)
    change: dict[str, Any] = {name: GONE}
    assert refused(replace(good, facts=replace(good.facts, **change)))


def test_protections_that_are_not_there_refuse() -> None:
    good = case(GOOD)
    for place in (0, 1):
        lists = list(good.facts.protected_environments)
        lists[place] = GONE
        assert refused(replace(good, facts=replace(good.facts, protected_environments=tuple(lists))))
    tagged = case(GOOD | {"ref": "tag:main", "refs": frozenset({"tag:main"})})
    assert refused(replace(tagged, facts=replace(tagged.facts, tags=GONE))) == "3 gitlab_doubtful"


def test_a_named_ref_nobody_asked_about_refuses() -> None:
    good = case(GOOD)
    assert refused(replace(good, facts=replace(good.facts, named_refs=None))) == "3 ref_missing"


def test_no_environment_at_all_refuses() -> None:
    assert refused(replace(case(GOOD), selection=Selection(None, None))) == "4 environment_missing"


def test_a_group_whose_protections_nobody_listed_refuses() -> None:
    good = case(GOOD)
    lists = good.facts.protected_environments[:1]
    assert refused(replace(good, facts=replace(good.facts, protected_environments=lists))) == "4 groups_incomplete"


@pytest.mark.parametrize(
    ("rule", "shown", "expected"),
    [
        ({"require_acr": frozenset({"phr"})}, {"acr": "pwd"}, "0 acr"),
        ({"require_acr": frozenset({"phr"})}, {"acr": "phr"}, ""),
        ({"require_acrs": frozenset({"c1"})}, {"acrs": frozenset({"c2"})}, "0 acrs"),
        ({"require_acrs": frozenset({"c1"})}, {"acrs": frozenset({"c1", "c2"})}, ""),
    ],
)
def test_how_a_person_must_sign_in(rule: dict[str, Any], shown: dict[str, Any], expected: str) -> None:
    good = case(GOOD)
    changed = replace(good, sign_in=replace(good.sign_in, identity=replace(IDENTITY, **rule), **shown))
    verdict = decision.decide(changed)
    assert (f"{verdict.rule} {verdict.reason}" if isinstance(verdict, Refused) else "") == expected


@pytest.mark.parametrize(
    ("environment", "tier"),
    [
        ("dev-1", "development"),
        ("trunk", "development"),
        ("qa", "testing"),
        ("acceptance", "testing"),
        ("Staging", "staging"),
        ("demo", "staging"),
        ("prod", "production"),
        ("LIVE", "production"),
        ("pre-prod", "staging"),
        ("shop", "other"),
    ],
)
def test_the_tier_is_guessed_as_gitlab_guesses(environment: str, tier: str) -> None:
    assert protection.guess_tier(environment) == tier


@pytest.mark.parametrize(
    ("make", "raw"),
    [
        (user_of, user(7, "x", identities=None)),
        (user_of, user(7, "x", username="")),
        (project_of, project(ci_config_path=5)),
        (project_of, project(namespace=None)),
        (project_of, project(archived="no")),
        (lambda raw: protected_environment_of(raw, "x", None), {"name": "x", "deploy_access_levels": None}),
    ],
)
def test_a_shape_that_is_not_gitlabs_is_no_fact(make: Any, raw: object) -> None:
    with pytest.raises(Malformed):
        make(raw)


# --- Entra's stable id is two claims ----------------------------------------------------------------------------------

ENTRA = replace(IDENTITY, link=LinkRule("azure_activedirectory_v2", "oid"))


def claims(**others: object) -> VerifiedClaims:
    return VerifiedClaims({"aud": ["device"], "sub": "s", "iat": NOW, "auth_time": NOW} | others)


def test_tenant_and_object_id_together_name_a_person() -> None:
    subject = _subject(ENTRA, claims(oid="o1", tid="t1"), "key", "digest")
    assert (subject.key, subject.who, subject.by_device) == ("t1/o1", Who(ENTRA.link.provider, "o1"), True)


@pytest.mark.parametrize(
    "others", [{"oid": "o1"}, {"tid": "t1"}, {"oid": "o" * 256, "tid": "t"}, {"oid": "a\nb", "tid": "t"}]
)
def test_half_a_stable_id_names_nobody(others: dict[str, str]) -> None:
    with pytest.raises(TokenRejected):
        _subject(ENTRA, claims(**others), "key", "digest")


# --- a scope of two relying parties -----------------------------------------------------------------------------------

EKS = """[relying_party.staging-eu]
kind = "kubernetes"
audience = "staging-eu"
server = "https://k8s.example.com"
"""
TABLE = """[scope.invoice-archive-writer.kubernetes]
relying_party = "staging-eu"
namespace = "billing"
"""


def two_parties(folder: Path) -> None:
    (folder / "relying_parties" / "aws.toml").write_text(PARTIES + EKS)
    (folder / "policy" / "billing.toml").write_text(POLICY + TABLE)


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path, change=two_parties) as opened:
        yield opened


async def test_with_two_relying_parties_one_is_chosen_by_name(company: Company) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.token(token)
    assert (status, body["error"]) == (400, "invalid_target")
    assert "aws-staging, staging-eu; choose one as audience" in body["error_description"]
    status, body = await laptop.token(token, audience="staging-eu")
    assert (status, body["target"]["kind"], body["target"]["namespace"]) == (200, "kubernetes", "billing")
    _, body = await laptop.call("GET", "/catalogue", token)
    assert [t["kind"] for t in body["scopes"][0]["targets"]] == ["aws", "kubernetes"]


def test_a_cluster_is_cut_by_its_role_bindings() -> None:
    target = KubernetesTarget(RelyingParty("eu", Kind.KUBERNETES, "eu"), "billing")
    scope = replace(SCOPE, targets=(target,))
    assert "user 7-developer in billing" in cuts.advice([scope], who="7-developer", now=NOW)[0]
    assert "group juniper:scope:invoice-archive-writer" in cuts.advice([scope], who=None, now=NOW)[0]


def test_a_bucket_is_refilled_evenly_and_bounded() -> None:
    clock = Clock()
    rate = Rate(2, clock=clock)
    assert [rate.spend("a") for _ in range(3)] == [True, True, False]
    assert rate.exhausted("a")
    assert not rate.exhausted("b")
    clock.pass_(30)
    assert [rate.spend("a") for _ in range(2)] == [True, False]
    for number in range(10_001):
        rate.spend(number)
    assert not rate.exhausted("a")


async def test_one_subject_is_limited_before_any_cryptography(tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        path = folder / "issuer.toml"
        path.write_text(path.read_text() + "[limits]\nper_subject = 3\n")

    async with open_company(tmp_path, change=change) as company:
        laptop, token = await company.signed_in()
        answers = [(await laptop.token(token))[0] for _ in range(3)]
        assert answers == [200, 200, 429]
        assert len(company.events()) == 2


def test_membership_is_judged_by_the_day_in_utc() -> None:
    assert datetime.fromtimestamp(NOW, UTC).date() == TODAY


def test_a_grant_without_its_facts_is_none() -> None:
    good = case(GOOD)
    empty = replace(good, facts=replace(good.facts, user=GONE))
    assert isinstance(decision._grant(empty), Refused)
