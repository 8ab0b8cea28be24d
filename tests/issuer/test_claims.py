"""What an issued token says, claim by claim."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd.issuer import claims
from juniperd.issuer.claims import Stamp
from juniperd.issuer.facts import Environment, Project, User
from juniperd.issuer.policy import ApiTarget, AwsTarget, KubernetesTarget, RelyingParty, SignedTarget
from juniperd.issuer.verdict import Grant
from juniperd.model import Kind
from tests.issuer.test_gitlab_answers import SCOPE

USER = User(7, "developer", "active", bot=False, locked=False, identities=frozenset())
PROJECT = Project(42, "shop/billing", 5, "shop", True, False, False, True, True)
STAGING = Environment(3, "staging", "staging", "staging", "available")
GRANT = Grant(SCOPE, USER, PROJECT, 30, "push", STAGING, None)
STAMP = Stamp("https://issuer.test", "j1", 1_790_000_000.7, "sha256:ab")
(AWS,) = (target for target in SCOPE.targets if isinstance(target, AwsTarget))
EKS = KubernetesTarget(
    RelyingParty("eu", Kind.KUBERNETES, "staging-eu", server="https://k8s.test"),
    "billing",
    ("gitlab:project_env:42:staging",),
)
API = ApiTarget(RelyingParty("billing-api", Kind.API, "https://billing.test"))


def test_an_aws_token_says_exactly_this() -> None:
    assert claims.build(GRANT, AWS, STAMP) == {
        "iss": "https://issuer.test",
        "sub": "scope:invoice-archive-writer:origin:laptop:project_id:42",
        "aud": "juniper:aws:111122223333",
        "iat": 1_790_000_000,
        "nbf": 1_790_000_000,
        "exp": 1_790_000_300,
        "jti": "j1",
        "juniper_origin": "laptop",
        "juniper_scope": "invoice-archive-writer",
        "juniper_basis": "push",
        "juniper_policy": "sha256:ab",
        "namespace_id": "5",
        "namespace_path": "shop",
        "project_id": "42",
        "project_path": "shop/billing",
        "user_id": "7",
        "user_login": "developer",
        "user_access_level": "developer",
        "pipeline_source": "juniper",
        "environment": "staging",
        "deployment_tier": "staging",
        "https://aws.amazon.com/tags": {
            "principal_tags": {
                "juniper_scope": ["invoice-archive-writer"],
                "juniper_origin": ["laptop"],
                "project_id": ["42"],
            },
            "transitive_tag_keys": ["juniper_scope", "juniper_origin", "project_id"],
        },
        "https://aws.amazon.com/source_identity": "7-developer",
        "https://aws.amazon.com/roles": ["arn:aws:iam::111122223333:role/writer"],
    }


def test_of_the_groups_a_scope_lists_only_this_environments_own_is_signed() -> None:
    review = replace(EKS, groups=("gitlab:project_env:42:review-42-0b3x9k", "gitlab:project_env:42:production"))
    for name, signed in (("review-42-0b3x9k", [review.groups[0]]), ("staging", [])):
        grant = replace(GRANT, environment=replace(STAGING, slug=name))
        assert claims.build(grant, review, STAMP)["groups"] == ["juniper:scope:invoice-archive-writer", *signed]


def test_a_cluster_token_names_the_person_and_the_scopes_groups() -> None:
    said = claims.build(GRANT, EKS, STAMP)
    assert said["aud"] == "staging-eu"
    assert said["preferred_username"] == "7-developer"
    assert said["groups"] == ["juniper:scope:invoice-archive-writer", "gitlab:project_env:42:staging"]
    assert not any(key.startswith("https://aws") for key in said)


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("branch:main", {"ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main"}),
        ("tag:v1", {"ref": "v1", "ref_type": "tag", "ref_path": "refs/tags/v1"}),
        ("branch:a:b", {"ref": "a:b", "ref_type": "branch", "ref_path": "refs/heads/a:b"}),
    ],
)
def test_a_ref_is_said_only_where_the_scope_constrains_it(ref: str, said: dict[str, str]) -> None:
    found = claims.build(replace(GRANT, ref=ref), AWS, STAMP)
    assert {k: found[k] for k in said} == said
    assert not {"ref", "ref_type", "ref_path"} & set(claims.build(GRANT, AWS, STAMP))


def test_what_was_not_checked_is_never_said() -> None:
    said = set(claims.build(replace(GRANT, ref="branch:main"), AWS, replace(STAMP, session="s")))
    absent = {
        "ref_protected",
        "environment_protected",
        "user_email",
        "job_id",
        "pipeline_id",
        "runner_id",
        "sha",
        "cnf",
    }
    assert not said & absent
    assert "juniper_session" in said


def test_without_an_environment_in_the_scope_none_is_said() -> None:
    scope = replace(SCOPE, environment=None)
    assert "environment" not in claims.build(replace(GRANT, scope=scope), AWS, STAMP)


@pytest.mark.parametrize(
    ("level", "name"),
    [(10, "guest"), (20, "reporter"), (30, "developer"), (40, "maintainer"), (50, "owner"), (35, "developer")],
)
def test_levels_are_said_by_name(level: int, name: str) -> None:
    assert claims.build(replace(GRANT, level=level), AWS, STAMP)["user_access_level"] == name


@given(st.text(min_size=1, max_size=100), st.integers(1, 10**9))
def test_a_session_name_is_always_one_that_aws_takes(login: str, number: int) -> None:
    name = claims.session_name(replace(USER, id=number, login=login))
    assert 2 <= len(name) <= 64
    assert name.isascii()
    assert all(c.isalnum() or c in "_+=,.@-" for c in name)
    assert name.startswith(f"{number}-")


def test_only_the_aws_target_pins_a_role() -> None:
    assert claims.build(GRANT, AWS, STAMP)["https://aws.amazon.com/roles"] == [AWS.role_arn]


def test_an_api_hears_who_it_is_and_for_which_client() -> None:
    built = claims.build(GRANT, API, STAMP)
    assert (built["aud"], built["client_id"]) == ("https://billing.test", "juniper")
    assert (built["scope"], built["preferred_username"]) == ("invoice-archive-writer", "7-developer")
    assert claims.token_type(API) == "at+jwt"
    assert claims.token_type(EKS) == claims.token_type(AWS) == "JWT"


@pytest.mark.parametrize(
    ("target", "ttl", "session_left", "life"),
    [
        (AWS, 3600.0, None, 300),
        (AWS, 3600.0, 60.0, 300),
        (EKS, 3600.0, None, 3600),
        (EKS, 600.0, None, 600),
        (EKS, 3600.0, 900.0, 900),
        (API, 3600.0, 7200.0, 3600),
        (API, 600.0, 900.0, 600),
    ],
)
def test_a_token_ends_soon_where_it_is_traded_else_with_the_scope_or_the_session(
    target: SignedTarget, ttl: float, session_left: float | None, life: int
) -> None:
    now = 1_790_000_000.0
    ends = None if session_left is None else now + session_left
    stamp = replace(STAMP, now=now, session="s1", session_ends=ends)
    built = claims.build(replace(GRANT, scope=replace(SCOPE, ttl=ttl)), target, stamp)
    assert built["exp"] == int(now) + life
    assert built["juniper_session"] == "s1"
