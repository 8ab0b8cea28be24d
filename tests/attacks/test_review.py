"""What a reviewer of the policy is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from juniperd.issuer import policy_diff, policy_file

POLICY = """version = 1
[relying_party.images]
kind = "registry"
host = "registry.gitlab.test"
provider = "gitlab"
[relying_party.aws]
kind = "aws"
audience = "a"
[scope.images]
about = "x"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "write"
[scope.images.registry]
relying_party = "images"
permissions = ["read_registry", "write_registry"]
[scope.archive]
about = "x"
project = "shop/*"
namespace_id = 5
environment = "staging"
origins = ["pipeline"]
access = "read"
[scope.archive.aws]
relying_party = "aws"
role_arn = "arn:aws:iam::111122223333:role/x"
region = "eu-west-1"
"""
READS = 'permissions = ["read_registry"]'
WRITES = 'permissions = ["read_registry", "write_registry"]'


def compared(folder: Path, old: str, new: str) -> list[str]:
    found = []
    for number, text in enumerate((old, new)):
        path = folder / f"{number}.toml"
        path.write_text(text)
        found.append(policy_file.load(path))
    return policy_diff.compare(*found)


def test_another_namespace_is_another_groups_pipelines(tmp_path: Path) -> None:
    (line,) = compared(tmp_path, POLICY, POLICY.replace("namespace_id = 5", "namespace_id = 6"))
    assert line == "changes: archive namespace_id was 5, is 6"


@pytest.mark.parametrize(("old", "new", "verb"), [(WRITES, READS, "loses"), (READS, WRITES, "gains")])
def test_a_right_to_push_that_goes_is_no_gain(tmp_path: Path, old: str, new: str, verb: str) -> None:
    (line,) = compared(tmp_path, POLICY.replace(WRITES, old), POLICY.replace(WRITES, new))
    assert line.startswith(f"{verb}: images reaches write images: the registry images with read_registry")
