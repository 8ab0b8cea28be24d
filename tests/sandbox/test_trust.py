"""IAM's evaluation of a trust policy, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from juniperd.sandbox.sts_trust import ASSUME, SOURCE_IDENTITY, TAG, first_denied, like

PROVIDER = "arn:aws:iam::111122223333:oidc-provider/127.0.0.1:8443"
CONTEXT = {
    "127.0.0.1:8443:sub": ("scope:a:origin:laptop:project_id:42",),
    "127.0.0.1:8443:aud": ("juniper:aws:111122223333",),
    "aws:requesttag/project_id": ("42",),
    "aws:tagkeys": ("project_id", "juniper_scope"),
    "sts:roleauthorizedbyidp": ("true",),
}


def statement(**parts: Any) -> dict[str, Any]:
    base = {"Effect": "Allow", "Principal": {"Federated": PROVIDER}, "Action": [ASSUME, TAG]}
    return base | parts


def refused(*statements: dict[str, Any], actions: tuple[str, ...] = (ASSUME,)) -> str | None:
    return first_denied({"Version": "2012-10-17", "Statement": list(statements)}, actions, PROVIDER, CONTEXT)


def condition(operator: str, key: str, value: object) -> dict[str, Any]:
    return statement(Condition={operator: {key: value}})


SUB, AUD = "127.0.0.1:8443:sub", "127.0.0.1:8443:aud"
HOLDS = [
    ("StringEquals", AUD, "juniper:aws:111122223333"),
    ("StringEquals", "127.0.0.1:8443:AUD", ["another", "juniper:aws:111122223333"]),
    ("StringLike", SUB, "scope:a:origin:*:project_id:4?"),
    ("StringEqualsIgnoreCase", SUB, "SCOPE:A:ORIGIN:LAPTOP:PROJECT_ID:42"),
    ("StringNotEquals", SUB, "other"),
    ("StringNotLike", SUB, "other:*"),
    ("StringEquals", "aws:RequestTag/project_id", "42"),
    ("Bool", "sts:RoleAuthorizedByIdp", "true"),
    ("Null", "sts:SourceIdentity", "true"),
    ("Null", SUB, "false"),
    ("StringEqualsIfExists", "sts:SourceIdentity", "7-developer"),
    ("ForAllValues:StringEquals", "aws:TagKeys", ["project_id", "juniper_scope", "more"]),
    ("ForAnyValue:StringEquals", "aws:TagKeys", ["project_id"]),
    ("StringNotEquals", "sts:SourceIdentity", "anything"),
]
FAILS = [
    ("StringEquals", SUB, "scope:a:origin:laptop:project_id:4"),
    ("StringEquals", SUB, "scope:a:*"),
    ("StringLike", SUB, "scope:b:*"),
    ("StringNotEquals", AUD, "juniper:aws:111122223333"),
    ("StringEquals", "aws:RequestTag/juniper_scope", "a"),
    ("StringEquals", "sts:SourceIdentity", "7-developer"),
    ("Bool", "sts:RoleAuthorizedByIdp", "false"),
    ("Null", "sts:SourceIdentity", "false"),
    ("ForAllValues:StringEquals", "aws:TagKeys", ["project_id"]),
    ("ForAnyValue:StringEquals", "aws:TagKeys", ["other"]),
    ("ForSomeValues:StringEquals", "aws:TagKeys", ["project_id"]),
    ("NumericEquals", "aws:RequestTag/project_id", "42"),
]


@pytest.mark.parametrize(("operator", "key", "value"), HOLDS)
def test_conditions_that_hold(operator: str, key: str, value: object) -> None:
    assert refused(condition(operator, key, value)) is None


@pytest.mark.parametrize(("operator", "key", "value"), FAILS)
def test_conditions_that_fail(operator: str, key: str, value: object) -> None:
    assert refused(condition(operator, key, value)) == ASSUME


def test_every_action_needs_its_own_permission() -> None:
    assert refused(statement(), actions=(ASSUME, TAG)) is None
    assert refused(statement(), actions=(ASSUME, TAG, SOURCE_IDENTITY)) == SOURCE_IDENTITY
    assert refused(statement(Action=ASSUME), actions=(ASSUME, TAG)) == TAG
    assert refused(statement(Action="sts:*"), actions=(ASSUME, TAG, SOURCE_IDENTITY)) is None


def test_a_deny_wins_and_an_unknown_part_of_a_deny_still_denies() -> None:
    assert refused(statement(), statement(Effect="Deny", Action="sts:*")) == ASSUME
    assert refused(statement(), statement(Effect="Deny", NotAction="s3:*")) == ASSUME
    assert refused(statement(), statement(Effect="Deny", Condition={"StringEquals": {SUB: "x"}})) is None


@pytest.mark.parametrize(
    "parts",
    [
        {"Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/other"}},
        {"Principal": {"AWS": "*"}},
        {"Principal": None},
        {"Action": "sts:AssumeRole"},
        {"Resource": "*"},
        {"NotPrincipal": {"AWS": "x"}},
    ],
)
def test_statements_that_do_not_reach_the_token(parts: dict[str, Any]) -> None:
    assert refused(statement(**parts)) == ASSUME


def test_a_policy_without_statements_allows_nothing() -> None:
    assert first_denied({}, (ASSUME,), PROVIDER, CONTEXT) == ASSUME


def test_wildcards_match_whole_strings() -> None:
    assert like("a*c", "abbc")
    assert like("a?c", "a.c")
    assert not like("a*c", "abbcd")
    assert not like("a.c", "abc")
