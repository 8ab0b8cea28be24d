"""Google Cloud in the policy: what a scope may say of it, what the issuer signs for it, and what people are shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest

from juniperd.errors import PolicyError
from juniperd.issuer import cuts, policy_diff, policy_file
from juniperd.issuer.policy import GoogleTarget, Policy
from juniperd.model import Kind
from tests.docs.test_docs import blocks
from tests.issuer.doubles import NOW, PARTIES, Company, Row, open_company

ROOT = Path(__file__).resolve().parents[2]
POOL = "projects/444455556666/locations/global/workloadIdentityPools/juniper-laptops"
AUDIENCE = f"//iam.googleapis.com/{POOL}/providers/juniper-issuer"
ACCOUNT = "invoice-export@shop-staging.iam.gserviceaccount.com"
CLUSTER = "projects/shop-staging/locations/europe-west1/clusters/batch"
GOOGLE = f"""
[relying_party.google-staging]
kind = "google"
audience = "{AUDIENCE}"
[relying_party.batch-gke]
kind = "kubernetes"
audience = "batch-gke"
server = "https://gke.test"
gke = "{CLUSTER}"
[relying_party.images-gar]
kind = "registry"
provider = "gar"
host = "europe-west1-docker.pkg.dev"
"""
SCOPES = f"""version = 1
[scope.invoice-export-reader]
about = "Read the exports"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "read"
ttl = "30m"
[scope.invoice-export-reader.google]
relying_party = "google-staging"
service_account = "{ACCOUNT}"
project = "shop-staging"
[scope.invoice-export-reader.kubernetes]
relying_party = "batch-gke"
namespace = "export"
[scope.invoice-export-reader.registry]
relying_party = "images-gar"
"""


def write(folder: Path, *, parties: str = GOOGLE, scopes: str = SCOPES) -> None:
    for name, text in (("relying_parties/aws", PARTIES + parties), ("policy/billing", scopes)):
        path = folder / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def load(folder: Path, *, sandbox: bool = False, **files: str) -> Policy:
    write(folder, **files)
    return policy_file.load(folder / "policy", folder / "relying_parties", sandbox=sandbox)


def test_a_scope_is_an_account_and_what_is_made_of_its_token(tmp_path: Path) -> None:
    scope = load(tmp_path).scopes["invoice-export-reader"]
    google, cluster, images = scope.targets
    assert isinstance(google, GoogleTarget)
    assert (google.service_account, google.project) == (ACCOUNT, "shop-staging")
    assert google.principals == f"principalSet://iam.googleapis.com/{POOL}"
    assert [t.relying_party.made_of for t in (google, cluster, images)] == [None, Kind.GOOGLE, Kind.GOOGLE]
    assert (cluster.relying_party.gke, scope.outlives) == (CLUSTER, False)


def test_the_manual_s_example_is_a_policy(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(blocks(ROOT / "docs/google.md", "toml")[1])
    assert list(policy_file.load(tmp_path / "p.toml").scopes) == ["invoice-export-reader"]


NO_PROVIDER = (
    "is not the resource name of a workload identity provider; write it as //iam.googleapis.com/projects/NUMBER/"
)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (AUDIENCE, f"https:{AUDIENCE}", NO_PROVIDER),
        (AUDIENCE, AUDIENCE.replace("444455556666", "shop-staging"), NO_PROVIDER),
        (AUDIENCE, AUDIENCE.replace("juniper-laptops", "gcp-laptops"), NO_PROVIDER),
        (AUDIENCE, AUDIENCE.replace("juniper-issuer", "is"), NO_PROVIDER),
        (AUDIENCE, AUDIENCE + "/x", NO_PROVIDER),
        (f'{AUDIENCE}"', f'{AUDIENCE}"\nendpoint = "http://127.0.0.1:1"', "an endpoint is for the sandbox, on loopback"),
        (f'{AUDIENCE}"', f'{AUDIENCE}"\n[relying_party.b]\nkind = "google"\naudience = "{AUDIENCE}"', "is already the one of"),
        (CLUSTER, "batch", "'batch' is not the name of one cluster of GKE; write it as projects/PROJECT/"),
        (f'"{CLUSTER}"', f'"{CLUSTER}"\neks = "b"\nregion = "eu-west-1"', "is not the name of one cluster of GKE"),
        ("europe-west1-docker.pkg.dev", "docker.pkg.dev", "is no host of Artifact Registry; write it as LOCATION-docker.pkg.dev"),
        ("europe-west1-docker.pkg.dev", "europe-west1-docker.pkg.dev.test", "is no host of Artifact Registry"),
        ('provider = "gar"', 'provider = "gar"\nregion = "x"', "unknown key 'region'"),
    ],
)  # fmt: skip
def test_a_party_that_is_none_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOGLE
    with pytest.raises(PolicyError) as refused:
        load(tmp_path, parties=GOOGLE.replace(old, new, 1))
    assert said in str(refused.value)


NO_ACCOUNT = "is not a service account's e-mail; write it as NAME@PROJECT.iam.gserviceaccount.com"
GOOGLE_TABLE = SCOPES[
    SCOPES.index("[scope.invoice-export-reader.google]") : SCOPES.index("[scope.invoice-export-reader.k")
]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (ACCOUNT, "invoice-export@shop.example", NO_ACCOUNT),
        (ACCOUNT, f"{ACCOUNT}.test", NO_ACCOUNT),
        (ACCOUNT, f"{ACCOUNT}/x", NO_ACCOUNT),
        ('project = "shop-staging"', 'project = "Shop"', "'Shop' is not the id of a Google Cloud project"),
        ('project = "shop-staging"', 'scopes = ["x"]', "unknown key 'scopes'"),
        (f'service_account = "{ACCOUNT}"\n', "", "without a service_account the ttl is exactly 1h; remove ttl, or add"),
        (GOOGLE_TABLE, '[scope.invoice-export-reader.aws]\nrelying_party = "aws-staging"\n', "missing"),
        (GOOGLE_TABLE, "", "batch-gke is reached with the scope's Google access token, and it has none; add [scope."),
        ('namespace = "export"', 'namespace = "export"\ngroups = ["gitlab:project_env:42:staging"]', "not our groups"),
        ('"images-gar"', '"images-gar"\npermissions = ["read_registry"]', "asks its own IAM what may be done"),
    ],
)  # fmt: skip
def test_a_scope_that_could_not_work_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in SCOPES
    with pytest.raises(PolicyError) as refused:
        load(tmp_path, scopes=SCOPES.replace(old, new, 1))
    assert said in str(refused.value)


def test_without_an_account_the_scope_lives_an_hour(tmp_path: Path) -> None:
    scopes = SCOPES.replace(f'service_account = "{ACCOUNT}"\n', "").replace('ttl = "30m"\n', "")
    target = load(tmp_path, scopes=scopes).scopes["invoice-export-reader"].targets[0]
    assert isinstance(target, GoogleTarget)
    assert target.service_account == ""


@pytest.mark.parametrize("account", ["a-user@example.com.shop-staging.iam.gserviceaccount.com", ACCOUNT])
def test_a_project_of_a_domain_has_accounts_too(tmp_path: Path, account: str) -> None:
    name = account.replace("a-user@example.com.shop-staging", "a-user@shop-staging.example.com")
    assert load(tmp_path, scopes=SCOPES.replace(ACCOUNT, name)).scopes


# --- what is signed ---------------------------------------------------------------------------------------------------


def in_sandbox(folder: Path) -> None:
    write(folder, parties=GOOGLE.replace(f'{AUDIENCE}"', f'{AUDIENCE}"\nendpoint = "http://127.0.0.1:5000"'))


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path, change=in_sandbox) as opened:
        yield opened


async def test_the_token_is_for_the_provider_and_lives_five_minutes(company: Company) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.token(token, scope="invoice-export-reader", audience="google-staging")
    assert status == 200, body
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims["aud"] == AUDIENCE
    assert claims["exp"] - claims["iat"] == 300
    assert (claims["juniper_origin"], claims["user_id"], claims["juniper_scope"]) == (
        "laptop",
        "7",
        "invoice-export-reader",
    )
    assert not any(name.startswith("https://") or name in {"groups", "client_id"} for name in claims)
    target = body["target"]
    assert (target["kind"], target["audience"], target["service_account"]) == ("google", AUDIENCE, ACCOUNT)
    assert (target["ttl"], target["endpoint"]) == (1800, "http://127.0.0.1:5000")


@pytest.mark.parametrize("party", ["batch-gke", "images-gar"])
async def test_nothing_is_signed_for_what_the_laptop_makes_itself(company: Company, party: str) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.token(token, scope="invoice-export-reader", audience=party)
    assert (status, body["error"]) == (400, "invalid_target")
    assert "has the relying parties google-staging" in body["error_description"]


async def test_the_catalogue_says_where_each_is(company: Company) -> None:
    laptop, token = await company.signed_in()
    _, body = await laptop.call("GET", "/catalogue", token)
    rows: dict[str, list[Row]] = {row["name"]: row["targets"] for row in body["scopes"]}
    google, cluster, images = rows["invoice-export-reader"]
    assert google == {
        "relying_party": "google-staging",
        "kind": "google",
        "audience": AUDIENCE,
        "service_account": ACCOUNT,
        "project": "shop-staging",
        "endpoint": "http://127.0.0.1:5000",
    }
    assert (cluster["gke"], "eks" in cluster) == (CLUSTER, False)
    host = "europe-west1-docker.pkg.dev"
    assert images == {"relying_party": "images-gar", "kind": "registry", "host": host, "provider": "gar"}


# --- what people are shown --------------------------------------------------------------------------------------------


def test_what_cuts_is_named_for_each(tmp_path: Path) -> None:
    policy = load(tmp_path)
    google, cluster, images = cuts.advice(policy.scopes.values(), who="7-*", now=NOW)
    assert (
        f"principalSet://iam.googleapis.com/{POOL}/attribute.juniper_scope/invoice-export-reader on {ACCOUNT}" in google
    )
    assert "update --disabled" in google
    assert cluster == "kubernetes batch-gke: nothing of its own; what is shown there is the scope's Google access token"
    assert images.startswith("registry images-gar: nothing of its own")
    steps = cuts.distrust(policy.relying_parties.values(), policy.scopes.values(), now=NOW)
    assert any(step.startswith("google google-staging: a provider with an uploaded key set") for step in steps)


def test_a_review_sees_another_account_and_another_cluster(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    lines = policy_diff.compare(
        load(old),
        load(
            new,
            parties=GOOGLE.replace("clusters/batch", "clusters/night"),
            scopes=SCOPES.replace("invoice-export@", "root-everywhere@"),
        ),
    )
    assert any("reaches read invoice-export-reader: root-everywhere@shop-staging" in line for line in lines)
    assert any("batch-gke gke was" in line for line in lines)
