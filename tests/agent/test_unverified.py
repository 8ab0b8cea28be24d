"""Tokens read without checking: whatever comes, an answer or nothing, never an exception."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd import unverified
from juniperd.errors import LoginRequired
from juniperd.identity import Provider
from juniperd.identity.tokens import read_tokens

PROVIDER = Provider("okta", "oidc", "https://idp", "c", "d", ("openid",), "device", "Test sign-in")


def token(claims: object) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_claims_read_back(claims: dict[str, object]) -> None:
    assert dict(unverified.read(token(claims)) or {}) == claims


@given(st.text())
def test_rubbish_is_nothing(text: str) -> None:
    assert unverified.read(text) is None
    assert unverified.read(f"a.{text}.b") is None


@pytest.mark.parametrize("claims", [[], "x", 7, None])
def test_what_is_no_object_is_nothing(claims: object) -> None:
    assert unverified.read(token(claims)) is None


@pytest.mark.parametrize(
    "claims",
    [
        [],
        {"iss": "https://elsewhere", "sub": "u", "auth_time": 1},
        {"iss": "https://idp", "auth_time": 1},
        {"iss": "https://idp", "sub": 7, "auth_time": 1},
        {"iss": "https://idp", "sub": "u", "auth_time": "now"},
        {"iss": "https://idp", "sub": "u", "auth_time": True},
    ],
)
def test_an_id_token_that_says_too_little_is_refused(claims: object) -> None:
    with pytest.raises(LoginRequired):
        read_tokens({"id_token": token(claims)}, PROVIDER)


def test_a_name_from_outside_is_cleaned() -> None:
    claims = {"iss": "https://idp", "sub": "u", "auth_time": 1, "preferred_username": "dev\x1b[2J" + "x" * 500}
    person = read_tokens({"id_token": token(claims)}, PROVIDER).claims.person
    assert person.isprintable()
    assert len(person) <= 100
