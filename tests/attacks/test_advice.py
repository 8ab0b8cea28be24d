"""A GitLab, or a project's configuration, that means harm to who asks it for advice."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from juniperd import ci_file, suggestion
from juniperd.errors import UpstreamAnswer
from juniperd.issuer import policy_file
from juniperd.suggestion import Source

PARTY = 'version = 1\n[relying_party.aws-111122223333]\nkind = "aws"\naudience = "juniper:aws:111122223333"\n'
ENVIRONMENTS = (
    "staging",
    "review/$CI_COMMIT_REF_SLUG",
    "a/$A/$B/$C/$D/$E/$F/$G/$H/$I",
    "a*b",
    "review/***",
    "a" * 300,
    "sta\u202eging",
    "\u00e9",
    "$A",
    'a"\\b',
    "a\x7fb",
    "a\ud800b",
)
NAMES = ("deploy", "x\n[scope.evil]", "\ud800", "\u2028[scope.x]", "a" * 500, '"""', "deploy: [eu]", "$(id)")
REFS = ("main", "**", "a*", "feature/\u00e9", "#1-late-fee", "fix+x", 'm"', "f/(x)", "a" * 300, "x\x85y", "release/1.0")


def test_what_is_suggested_is_taken_as_policy_or_stands_behind_a_comment(tmp_path: Path) -> None:
    parties, file = tmp_path / "parties.toml", tmp_path / "policy.toml"
    parties.write_text(PARTY)
    live = 0
    for seed in range(600):
        dice = random.Random(seed)
        rows = [{"name": name, "environment": dice.choice(ENVIRONMENTS)} for name in dice.sample(NAMES, 2)]
        written = {
            row["name"]: {
                "id_tokens": {"T": {"aud": dice.choice(("https://issuer.test", "x\ny"))}},
                "variables": {"AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/x", "AWS_REGION": "eu-west-1"},
            }
            for row in rows
        }
        ref = dice.choice(REFS)
        answer = {"project": "shop/billing", "ref": ref, "jobs": rows, "merged_yaml": json.dumps(written)}
        source = Source("shop/billing", 42, f"branch:{ref}", "https://issuer.test")
        found = suggestion.proposals(ci_file.jobs(answer), source, {})
        file.write_text(suggestion.toml(found, source))
        if not any(one.complete for one in found):
            continue
        policy = policy_file.load(file, parties)
        assert set(policy.scopes) == {one.name for one in found if one.complete}
        assert {s.ref for s in policy.scopes.values()} <= {None, "branch:main", "branch:release/1.0"}
        # What has an environment that policy cannot name is no entry without one.
        told = {one.name for one in found if one.job.environment is not None}
        assert all(policy.scopes[name].environment for name in told & policy.scopes.keys())
        live += len(policy.scopes)
    assert live > 50


def test_a_long_name_of_a_job_is_cut_before_anything_is_matched_with_it() -> None:
    name = ": [" * 100
    written = json.dumps({name: {"variables": {"AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/x"}}})
    (job,) = ci_file.jobs({"jobs": [{"name": name}], "merged_yaml": written})
    assert (len(job.name), job.role_arns) == (255, ())


def test_a_configuration_that_is_too_deep_is_read_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    read, parse = [], yaml.parse

    def counted(text: str, **how: Any) -> Iterator[object]:
        for event in parse(text, **how):
            read.append(event)
            yield event

    monkeypatch.setattr(yaml, "parse", counted)
    with pytest.raises(UpstreamAnswer, match="cannot be read"):
        ci_file.configuration("[" * 2000)
    assert len(read) < 2 * ci_file.DEEPEST
