"""The slug that GitLab gives to an environment, of which a cluster's group is made."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd.issuer import slug
from juniperd.sandbox.gitlab_shapes import environment_slug


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("staging", "staging"),
        ("staging-1234567890123456", "staging-1234567890123456"),
        ("staging-", "staging"),
        ("staging-12345678901234567", "staging-123456789-"),
        ("9-staging-123456789012345", "env-9-staging-123-"),
        ("PRODUCTION", "production-"),
        ("review/1-foo", "review-1-foo-"),
        ("1/foo", "env-1-foo-"),
        ("foo--bar", "foo-bar-"),
    ],
)
def test_a_plain_name_is_its_slug_and_another_is_cut_and_told_apart(name: str, plain: str) -> None:
    found = slug.of_environment(name)
    assert found == plain or (plain.endswith("-") and re.fullmatch(re.escape(plain) + "[0-9a-z]{6}", found))


def test_the_suffix_is_the_end_of_the_names_hash_in_base_36() -> None:
    suffix = slug.of_environment("review/42").rpartition("-")[2]
    assert int(hashlib.sha256(b"review/42").hexdigest(), 16) % 36**6 == int(suffix, 36)


@given(st.text(min_size=1, max_size=60))
def test_a_slug_is_short_and_made_of_letters_digits_and_dashes_as_the_sandbox_says(name: str) -> None:
    found = slug.of_environment(name)
    assert re.fullmatch(r"[a-z][a-z0-9-]*", found)
    assert len(found) <= slug.LONGEST
    assert found == environment_slug(name)
