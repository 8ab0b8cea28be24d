"""Cases of a policy test that would say ok of what the issuer refuses."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from juniperd.issuer import case_file, rehearsal
from juniperd.issuer.policy import Policy
from juniperd.model import Origin
from tests.issuer.worlds import a_scope

CASE = """version = 1
[case."a job looks at what a group protects"]
origin = "pipeline"
project = "shop/billing"
action = "verify"
refuse = "environment_action"
group_protected_environments.staging = { deploy = ["maintainer"] }
"""


def test_what_a_group_protects_is_protected_in_a_jobs_token_too(tmp_path: Path) -> None:
    scope = a_scope(origins=frozenset({Origin.PIPELINE}))
    policy = Policy({scope.name: scope}, {}, digest="sha256:0")
    path = tmp_path / "cases.toml"
    path.write_text(CASE)
    (result,) = rehearsal.run(case_file.read(path, policy), policy, date(2026, 9, 21))
    assert result.differences == []
