"""The schema against the reader: what the reader takes an editor takes, and both refuse the same slips of one key."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from jsonschema import Draft202012Validator

from juniperd.errors import PolicyError
from juniperd.issuer import policy_file, policy_schema
from juniperd.model import Kind
from tests.docs.test_docs import blocks, keys_read_by

ROOT = Path(__file__).resolve().parents[2]
VALIDATOR = Draft202012Validator(policy_schema.schema())

EVERY = """version = 1
[production]
environments = ["production", "live"]

[relying_party.aws-staging]
kind = "aws"
audience = "juniper:aws:111122223333"
[relying_party.staging-eu]
kind = "kubernetes"
audience = "staging-eu"
server = "https://k8s.example.com"
[relying_party.billing-api]
kind = "api"
audience = "billing-api"
[relying_party.images]
kind = "registry"
provider = "gitlab"
host = "registry.example.com"
[relying_party.code]
kind = "git"
host = "gitlab.example.com"
[relying_party.google-staging]
kind = "google"
audience = "//iam.googleapis.com/projects/444455556666/locations/global/workloadIdentityPools/juniper/providers/issuer"
[relying_party.batch-gke]
kind = "kubernetes"
audience = "batch-gke"
server = "https://gke.example.com"
gke = "projects/shop-staging/locations/europe-west1/clusters/batch"

[scope.whole]
about = "Everything that a scope may say"
project = "shop/billing"
project_id = 42
environment = "staging"
ref = "branch:main"
role = "maintainer"
origins = ["pipeline", "laptop"]
access = "write"
activation = "session"
ttl = "1h"
laptop_basis = "merge"
laptop_production = { users = [7], until = 2026-12-31 }
sign_in = ["browser"]
sources = ["push"]
ci_config_elsewhere = true
outlives = true
[scope.whole.aws]
relying_party = "aws-staging"
role_arn = "arn:aws:iam::111122223333:role/whole"
region = "eu-west-1"
[scope.whole.google]
relying_party = "google-staging"
service_account = "exports@shop-staging.iam.gserviceaccount.com"
project = "shop-staging"
[scope.whole.kubernetes]
relying_party = "staging-eu"
namespace = "billing"
groups = ["gitlab:project_env:42:staging"]
[scope.whole.api]
relying_party = "billing-api"
[scope.whole.registry]
relying_party = "images"
permissions = ["read_registry", "write_registry"]
[scope.whole.git]
relying_party = "code"
"""


def as_editors_see_it(text: str) -> Any:
    """TOML as an editor hands it to a schema: dates are text."""
    return json.loads(json.dumps(tomllib.loads(text), default=str))


def taken(text: str, folder: Path) -> bool:
    path = folder / "policy.toml"
    path.write_text(text)
    try:
        policy_file.load(path)
    except PolicyError:
        return False
    return True


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(policy_schema.schema())


def test_what_says_everything_is_taken_by_both(tmp_path: Path) -> None:
    assert taken(EVERY, tmp_path)
    VALIDATOR.validate(as_editors_see_it(EVERY))


@pytest.mark.parametrize("number", range(3))
def test_the_manual_s_examples_pass(number: int) -> None:
    """The first three are policy; the last are cases."""
    *policy, _ = blocks(ROOT / "docs/policy.md", "toml")
    VALIDATOR.validate(as_editors_see_it(policy[number]))
    assert len(policy) == 3


def slips() -> Iterator[tuple[str, Callable[[Any], None]]]:
    """One change of one key each, after which neither takes the file."""

    def change(*path: str, to: object) -> tuple[str, Callable[[Any], None]]:
        def work(document: Any) -> None:
            *above, last = path
            for key in above:
                document = document[key]
            if to is None:
                del document[last]
            else:
                document[last] = to

        return f"{'.'.join(path)}={to!r}", work

    whole = ("scope", "whole")
    for key in ("about", "project", "origins", "access"):
        yield change(*whole, key, to=None)
    yield change("version", to=None)
    yield change("version", to=2)
    yield change(*whole, "colour", to="blue")
    yield change(*whole, "project_id", to=0)
    yield change(*whole, "project_id", to="42")
    yield change(*whole, "role", to="admin")
    yield change(*whole, "origins", to=[])
    yield change(*whole, "origins", to=["desk"])
    yield change(*whole, "access", to="admin")
    yield change(*whole, "activation", to="always")
    yield change(*whole, "ttl", to="90")
    yield change(*whole, "ref", to="main")
    for key in ("environment", "ref", "read_only"):
        yield change(*whole, key, to="")
    for key in ("service_account", "project"):
        yield change(*whole, "google", key, to="")
    for key in ("eks", "region", "gke", "ca_file", "ca_sha256", "endpoint"):
        yield change("relying_party", "staging-eu", key, to="")
    yield change(*whole, "laptop_basis", to="approve")
    yield change(*whole, "laptop_production", "users", to=[])
    yield change(*whole, "laptop_production", "why", to="because")
    yield change(*whole, "sign_in", to=["phone"])
    yield change(*whole, "sign_in", to=[])
    yield change(*whole, "outlives", to="yes")
    yield change(*whole, "aws", "role_arn", to="arn:aws:iam::111122223333:role/*")
    yield change(*whole, "aws", "region", to=None)
    yield change(*whole, "aws", "session", to="x")
    yield change(*whole, "google", "service_account", to="exports@example.com")
    yield change(*whole, "google", "project", to="Shop")
    yield change(*whole, "google", "scopes", to=["x"])
    yield change("relying_party", "batch-gke", "gke", to="batch")
    yield change(*whole, "kubernetes", "namespace", to="Billing")
    yield change(*whole, "kubernetes", "groups", to=["system:masters"])
    yield change(*whole, "registry", "permissions", to=["admin"])
    yield change("relying_party", "aws-staging", "kind", to="azure")
    yield change("relying_party", "aws-staging", "audience", to="two words")
    yield change("relying_party", "images", "provider", to="quay")
    yield change("relying_party", "staging-eu", "server", to="http://k8s.example.com")
    yield change("production", "environments", to=[])
    yield change("scope", "Upper", to={"about": "x"})


@pytest.mark.parametrize(("name", "slip"), list(slips()), ids=[name for name, _slip in slips()])
def test_a_slip_is_refused_by_both(name: str, slip: Callable[[Any], None], tmp_path: Path) -> None:
    document = copy.deepcopy(tomlkit.parse(EVERY))
    slip(document)
    text = tomlkit.dumps(document)
    assert not taken(text, tmp_path), name
    assert not VALIDATOR.is_valid(as_editors_see_it(text)), name


def test_no_key_is_in_one_alone() -> None:
    read = set().union(*(keys_read_by(f"juniperd/issuer/{name}_file.py") for name in ("policy", "party", "target")))
    told: set[str] = set()

    def collect(schema: Any) -> None:
        if isinstance(schema, dict):
            told.update(schema.get("properties", {}))
            for value in schema.values():
                collect(value)

    collect(policy_schema.schema())
    # The reader takes these by other calls: loops over tables, the version, times, and lists of known words.
    apart = {"version", "scope", "relying_party", "production", "origins", "ttl", *Kind}
    assert (sorted(read - told), sorted(told - read - apart)) == ([], [])


def test_the_reference_is_made_of_it() -> None:
    page = (ROOT / "docs/policy-reference.md").read_text()
    assert page.endswith(policy_schema.reference().rstrip() + "\n"), "run: juniper policy schema --markdown"
