"""Clusters and APIs in the policy, and the tokens they get: used as they are, and ended with their session."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from juniperd import fingerprint
from juniperd.errors import PolicyError
from juniperd.issuer import policy_diff, policy_file
from juniperd.issuer.policy import ApiTarget, KubernetesTarget, Policy
from juniperd.sandbox.tls import certificates
from tests.issuer.doubles import NOW, PARTIES, Company, Row, open_company

CA = certificates().ca.decode()
FINGERPRINT = fingerprint.of_pem(CA) or ""
CLUSTERS = f"""
[relying_party.staging-eu]
kind = "kubernetes"
audience = "staging-eu"
server = "https://k8s.test:6443/"
ca_file = "eu.pem"
[relying_party.staging-eks]
kind = "kubernetes"
audience = "staging-eks"
server = "https://eks.test"
ca_sha256 = "{":".join(FINGERPRINT.upper()[i : i + 2] for i in range(0, 64, 2))}"
eks = "staging-7"
region = "eu-west-1"
[relying_party.billing-api]
kind = "api"
audience = "https://billing.test"
"""
SCOPE = """version = 1
[scope.billing-debugger]
about = "Read pods and logs of billing"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "read"
[scope.billing-debugger.aws]
relying_party = "aws-staging"
role_arn = "arn:aws:iam::111122223333:role/billing-debugger"
region = "eu-west-1"
[scope.billing-debugger.api]
relying_party = "billing-api"
[scope.billing-debugger.kubernetes]
relying_party = "staging-eu"
namespace = "billing"
groups = ["gitlab:project_env:42:staging"]
[scope.billing-deployer]
about = "Deploy billing to EKS"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "write"
[scope.billing-deployer.aws]
relying_party = "aws-staging"
role_arn = "arn:aws:iam::111122223333:role/billing-deployer"
region = "eu-west-1"
[scope.billing-deployer.kubernetes]
relying_party = "staging-eks"
namespace = "billing"
[scope.billing-writer]
about = "Write to billing's API"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "write"
ttl = "10m"
[scope.billing-writer.api]
relying_party = "billing-api"
"""


def write(folder: Path, *, parties: str = CLUSTERS, scopes: str = SCOPE) -> None:
    (folder / "policy").mkdir(exist_ok=True)
    (folder / "relying_parties").mkdir(exist_ok=True)
    (folder / "policy" / "billing.toml").write_text(scopes)
    (folder / "relying_parties" / "aws.toml").write_text(PARTIES + parties)
    (folder / "relying_parties" / "eu.pem").write_text(CA)


def load(folder: Path, **files: str) -> Policy:
    write(folder, **files)
    return policy_file.load(folder / "policy", folder / "relying_parties")


def test_a_cluster_is_known_by_its_url_and_its_ca(tmp_path: Path) -> None:
    policy = load(tmp_path)
    eu, eks = policy.relying_parties["staging-eu"], policy.relying_parties["staging-eks"]
    assert (eu.server, eu.ca_sha256, eu.certificate_authority) == ("https://k8s.test:6443", FINGERPRINT, CA)
    assert (eks.ca_sha256, eks.certificate_authority, eks.eks, eks.region) == (
        FINGERPRINT,
        "",
        "staging-7",
        "eu-west-1",
    )
    kinds = [type(target) for target in policy.scopes["billing-debugger"].targets]
    assert KubernetesTarget in kinds
    assert ApiTarget in kinds


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('server = "https://eks.test"', 'server = "http://eks.test"', "'http://eks.test' is not an https URL"),
        *(
            ('server = "https://eks.test"', f'server = "{server}"', "is not an https URL of an API server; write it as")
            for server in ("https://", "https://u:p@e.test", "https://e.test?x=1", "https://e test", "https://e:99999")
        ),
        ('ca_file = "eu.pem"', 'ca_file = "none.pem"', "none.pem cannot be read; put the cluster's CA there, as PEM"),
        ('ca_file = "eu.pem"', 'ca_file = "aws.toml"', "aws.toml holds something other than certificates"),
        (
            'ca_file = "eu.pem"',
            f'ca_file = "eu.pem"\nca_sha256 = "{"0" * 64}"',
            "the CA in ca_file has the fingerprint",
        ),
        ('ca_file = "eu.pem"', 'ca_sha256 = "abc"', "'ca_sha256' is no SHA-256 fingerprint; write its 64 hex digits"),
        ('eks = "staging-7"', "", "an EKS cluster is named by eks and region"),
        ('region = "eu-west-1"', 'region = "Ireland"', "an EKS cluster is named by eks and region"),
        ('eks = "staging-7"', 'eks = "a cluster"', "an EKS cluster is named by eks and region"),
        ('audience = "https://billing.test"', 'audience = "x"\nserver = "https://b.test"', "unknown key 'server'"),
    ],
)
def test_a_party_that_is_none_names_its_line_and_cure(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(PolicyError, match=r"aws\.toml:\d+: ") as refused:
        load(tmp_path, parties=CLUSTERS.replace(old, new))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('ttl = "10m"', 'ttl = "9m"', "a token that is used as it is lives ten minutes at least"),
        ('relying_party = "staging-eks"\nnamespace = "billing"', 'relying_party = "staging-eks"\nnamespace = "billing"\ngroups = ["gitlab:project_env:42:staging"]', "a cluster of a cloud's own knows the cloud's names, not our groups; remove groups"),
        ('relying_party = "staging-eu"', 'relying_party = "billing-api"', "'billing-api' is of kind api, not kubernetes"),
        ("gitlab:project_env:42:staging", "gitlab:project_env:43:staging", "'gitlab:project_env:43:staging' is of another project; list groups of project_id alone"),
        ("gitlab:project_env:42:staging", "gitlab:project_env:42:production", "'gitlab:project_env:42:production' is of another environment; write gitlab:project_env:42:staging"),
        ('[scope.billing-deployer.aws]\nrelying_party = "aws-staging"\nrole_arn = "arn:aws:iam::111122223333:role/billing-deployer"\nregion = "eu-west-1"\n', "", "an EKS cluster is reached with the scope's AWS role, and it has none"),
    ],
)  # fmt: skip
def test_a_scope_that_could_not_work_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in SCOPE
    with pytest.raises(PolicyError) as refused:
        load(tmp_path, scopes=SCOPE.replace(old, new))
    assert said in str(refused.value)


def test_a_review_sees_who_gains_a_cluster_and_an_api(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    without = SCOPE[: SCOPE.index("[scope.billing-debugger.api]")] + SCOPE[SCOPE.index("[scope.billing-deployer]") :]
    said = "\n".join(policy_diff.compare(load(old, scopes=without), load(new)))
    assert "namespace billing at staging-eu" in said
    assert "the API billing-api" in said


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path, change=write) as opened:
        yield opened


def parts_of(body: Row) -> tuple[Row, Row]:
    header, payload, _ = body["access_token"].split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, payload))


async def test_a_cluster_gets_a_token_of_an_hour_with_the_persons_name_and_groups(company: Company) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.token(token, scope="billing-debugger", audience="staging-eu")
    assert (status, body["token_type"], body["expires_in"]) == (200, "N_A", 3600)
    assert body["target"]["server"] == "https://k8s.test:6443"
    assert body["target"]["ca_sha256"] == FINGERPRINT
    header, claims = parts_of(body)
    assert (header["typ"], claims["aud"], claims["exp"]) == ("JWT", "staging-eu", int(NOW) + 3600)
    assert claims["preferred_username"] == "7-developer"
    assert claims["groups"] == ["juniper:scope:billing-debugger", "gitlab:project_env:42:staging"]


async def test_an_api_gets_an_access_token_that_is_one(company: Company) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.token(token, scope="billing-debugger", audience="billing-api")
    assert (status, body["token_type"]) == (200, "Bearer")
    header, claims = parts_of(body)
    assert (header["typ"], claims["aud"], claims["client_id"]) == ("at+jwt", "https://billing.test", "juniper")


async def test_the_issuer_signs_nothing_for_an_eks_cluster(company: Company) -> None:
    laptop, token = await company.signed_in()
    _, session = await laptop.open_session(token)
    asked = {"scope": "billing-deployer", "session": session["id"]}
    status, body = await laptop.token(token, audience="staging-eks", **asked)
    assert (status, body["error"]) == (400, "invalid_target")
    assert body["error_description"].startswith("scope billing-deployer has the relying parties aws-staging;")
    status, body = await laptop.call("GET", "/catalogue", token)
    (row,) = (row for row in body["scopes"] if row["name"] == "billing-deployer")
    (target,) = (target for target in row["targets"] if target["kind"] == "kubernetes")
    assert (target["eks"], target["region"], target["ca_sha256"]) == ("staging-7", "eu-west-1", FINGERPRINT)


async def test_a_token_ends_with_its_session(company: Company) -> None:
    laptop, token = await company.signed_in()
    _, session = await laptop.open_session(token, seconds=900)
    asked = {"scope": "billing-debugger", "audience": "billing-api", "session": session["id"]}
    status, body = await laptop.token(token, **asked)
    assert (status, body["expires_in"], parts_of(body)[1]["exp"]) == (200, 900, int(NOW) + 900)
    company.clock.pass_(781)
    fresh = company.idp.token(auth_time=int(NOW) - 5)
    status, body = await laptop.token(fresh, **asked)
    assert (status, body["refusal"]["reason"]) == (403, "session_ending")
    assert body["error_description"] == "the session ends in 119 s; run: juniper session extend 30m"
