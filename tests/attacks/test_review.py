"""What a reviewer of the policy is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from juniperd.issuer import policy_diff, policy_file
from juniperd.issuer.policy import Policy

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


def policies(folder: Path, *texts: str) -> list[Policy]:
    found = []
    for number, text in enumerate(texts):
        path = folder / f"{number}.toml"
        path.write_text(text)
        found.append(policy_file.load(path))
    return found


def compared(folder: Path, old: str, new: str) -> list[str]:
    return policy_diff.compare(*policies(folder, old, new))


def test_another_namespace_is_another_groups_pipelines(tmp_path: Path) -> None:
    (line,) = compared(tmp_path, POLICY, POLICY.replace("namespace_id = 5", "namespace_id = 6"))
    assert line == "changes: archive namespace_id was 5, is 6"


@pytest.mark.parametrize(("old", "new", "verb"), [(WRITES, READS, "loses"), (READS, WRITES, "gains")])
def test_a_right_to_push_that_goes_is_no_gain(tmp_path: Path, old: str, new: str, verb: str) -> None:
    (line,) = compared(tmp_path, POLICY.replace(WRITES, old), POLICY.replace(WRITES, new))
    assert line.startswith(f"{verb}: images reaches write images: the registry images with read_registry")


CLUSTER = """version = 1
[relying_party.eu]
kind = "kubernetes"
audience = "staging-eu"
server = "https://k8s.staging-eu.example.com"
ca_sha256 = "CA"
[scope.debugger]
about = "x"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "read"
[scope.debugger.kubernetes]
relying_party = "eu"
namespace = "billing"
""".replace("CA", "ab" * 32)


@pytest.mark.parametrize(
    ("before", "after"),
    [('"staging-eu"', '"production-eu"'), ("k8s.staging-eu", "k8s.production-eu")],
)
def test_a_cluster_that_becomes_another_under_its_name_is_gained_by_all(
    tmp_path: Path, before: str, after: str
) -> None:
    old, new = (policies(tmp_path, text)[0].scopes["debugger"] for text in (CLUSTER, CLUSTER.replace(before, after)))
    assert policy_diff.widened(old, new)
    assert not policy_diff.widened(old, old)


def test_an_account_of_another_audience_is_the_same_account(tmp_path: Path) -> None:
    old, new = policies(tmp_path, POLICY, POLICY.replace('audience = "a"', 'audience = "b"'))
    assert not policy_diff.widened(old.scopes["archive"], new.scopes["archive"])


def test_a_registry_that_becomes_another_under_its_name_is_gained_by_all(tmp_path: Path) -> None:
    old, new = policies(tmp_path, POLICY, POLICY.replace("registry.gitlab.test", "registry.example.com"))
    assert policy_diff.widened(old.scopes["images"], new.scopes["images"])
    assert not policy_diff.widened(old.scopes["images"], old.scopes["images"])
