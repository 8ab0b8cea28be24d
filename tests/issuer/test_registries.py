"""Registries and Git servers in the policy: what a scope may say of them, and what people and reviewers are shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from juniperd.errors import ConfigError, PolicyError
from juniperd.issuer import config as configuration
from juniperd.issuer import cuts, lint, policy_commands, policy_diff, policy_file
from juniperd.issuer.app import running
from juniperd.issuer.policy import GitTarget, Policy, RegistryTarget, token_scopes
from tests.issuer.doubles import NOW, PARTIES, TODAY, Company, Row, open_company, write_files

ECR_HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
HOSTS = f"""
[relying_party.images]
kind = "registry"
host = "registry.gitlab.test:5050"
provider = "gitlab"
[relying_party.ecr]
kind = "registry"
host = "{ECR_HOST}"
provider = "ecr"
[relying_party.code]
kind = "git"
host = "gitlab.test"
"""
SCOPES = """version = 1
[scope.image-reader]
about = "Pull billing's images, clone its repository"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "read"
[scope.image-reader.registry]
relying_party = "images"
[scope.image-reader.git]
relying_party = "code"
[scope.image-writer]
about = "Push billing's images"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["pipeline", "laptop"]
access = "write"
[scope.image-writer.registry]
relying_party = "images"
permissions = ["write_registry", "read_registry"]
[scope.ecr-reader]
about = "Pull from ECR"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "read"
outlives = true
[scope.ecr-reader.aws]
relying_party = "aws-staging"
role_arn = "arn:aws:iam::111122223333:role/ecr-reader"
region = "eu-central-1"
[scope.ecr-reader.registry]
relying_party = "ecr"
"""
MINTER = '[minter]\nurl = "https://minter.test"\n'


def write(folder: Path, *, parties: str = HOSTS, scopes: str = SCOPES) -> None:
    (folder / "policy").mkdir(exist_ok=True)
    (folder / "relying_parties").mkdir(exist_ok=True)
    (folder / "policy" / "billing.toml").write_text(scopes)
    (folder / "relying_parties" / "aws.toml").write_text(PARTIES + parties)


def load(folder: Path, *, sandbox: bool = False, minter: bool = True, **files: str) -> Policy:
    write(folder, **files)
    return policy_file.load(folder / "policy", folder / "relying_parties", sandbox=sandbox, minter=minter)


def test_a_registry_is_known_by_its_host_and_has_no_audience(tmp_path: Path) -> None:
    policy = load(tmp_path)
    images, ecr, code = (policy.relying_parties[name] for name in ("images", "ecr", "code"))
    assert (images.host, images.provider, images.audience, images.region) == (
        "registry.gitlab.test:5050",
        "gitlab",
        "",
        "",
    )
    assert (ecr.host, ecr.provider, ecr.audience, ecr.region) == (ECR_HOST, "ecr", "", "eu-west-1")
    assert (code.host, code.provider, code.audience) == ("gitlab.test", "", "")
    assert policy.scopes["image-reader"].targets == (RegistryTarget(images, ("read_registry",)), GitTarget(code))
    assert [token_scopes(t) for t in policy.scopes["image-reader"].targets] == [
        ("read_registry",),
        ("read_repository",),
    ]
    (writer,) = policy.scopes["image-writer"].targets
    assert token_scopes(writer) == ("read_registry", "write_registry")
    assert [token_scopes(t) for t in policy.scopes["ecr-reader"].targets] == [(), ()]


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("111122223333.dkr.ecr-fips.us-east-1.amazonaws.com", "us-east-1"),
        ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("111122223333.dkr.ecr.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("111122223333.dkr-ecr.eu-west-1.on.aws", "eu-west-1"),
        ("111122223333.dkr-ecr-fips.us-west-2.on.aws", "us-west-2"),
        ("111122223333.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1"),
    ],
)
def test_every_form_of_ecrs_hosts_says_its_region(tmp_path: Path, host: str, region: str) -> None:
    assert load(tmp_path, parties=HOSTS.replace(ECR_HOST, host)).relying_parties["ecr"].region == region


NO_HOST = "is no host as tools name it; write it in lower case, without https://, with its port where that is not 443"
NO_ECR = "is no registry of ECR; write it as ACCOUNT.dkr.ecr.REGION.amazonaws.com"


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("registry.gitlab.test:5050", "https://registry.gitlab.test", 8, f"'https://registry.gitlab.test' {NO_HOST}"),
        ("registry.gitlab.test:5050", "Registry.gitlab.test", 8, f"'Registry.gitlab.test' {NO_HOST}"),
        ("registry.gitlab.test:5050", "registry.gitlab.test:443", 8, NO_HOST),
        ("registry.gitlab.test:5050", "registry.gitlab.test/shop", 8, NO_HOST),
        ("registry.gitlab.test:5050", "", 8, NO_HOST),
        ('host = "gitlab.test"', "", 14, "'host' is missing; add host to "),
        ('host = "gitlab.test"', 'host = "gitlab.test"\naudience = "x"', 17, "no token of ours is shown to a registry or a Git server; remove audience"),
        ('provider = "gitlab"', "", 6, "'provider' is missing; add provider to "),
        ('provider = "gitlab"', 'provider = "harbor"', 9, "'provider' must be one of gitlab, ecr, gar, not 'harbor'"),
        ('provider = "gitlab"', 'provider = "ecr"', 8, f"'registry.gitlab.test:5050' {NO_ECR}"),
        (ECR_HOST, "11112222333.dkr.ecr.eu-west-1.amazonaws.com", 12, NO_ECR),
        (ECR_HOST, "111122223333.dkr.ecr.eu-west-1.amazonaws.com.evil.test", 12, NO_ECR),
        (ECR_HOST, "111122223333.dkr.ecr.ireland.amazonaws.com", 12, NO_ECR),
        (ECR_HOST, "111122223333.dkr.ecr.eu-west-1.amazonaws.com:8443", 12, NO_ECR),
        ('provider = "gitlab"', 'provider = "gitlab"\nendpoint = "http://127.0.0.1:1"', 10, "unknown key 'endpoint'"),
        ('provider = "ecr"', 'provider = "ecr"\nendpoint = "http://127.0.0.1:1"', 14, "an endpoint is for the sandbox, on loopback; remove endpoint"),
        ('host = "gitlab.test"', 'host = "gitlab.test"\nprovider = "gitlab"', 17, "unknown key 'provider'"),
        ('kind = "git"\n', 'kind = "git"\nhost = "gitlab.test"\n[relying_party.again]\nkind = "git"\n', 19, "host 'gitlab.test' is already the one of 'code'; keep one of them"),
        ('kind = "git"\n', 'kind = "api"\naudience = "juniper:minter"\n', 16, "'juniper:minter' is the audience of orders to the minter; choose another one"),
    ],
)  # fmt: skip
def test_a_party_that_is_none_names_its_line_and_cure(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    assert old in HOSTS
    with pytest.raises(PolicyError) as refused:
        load(tmp_path, parties=HOSTS.replace(old, new))
    assert f"aws.toml:{line}: " in str(refused.value)
    assert said in str(refused.value)


def test_a_git_server_and_a_registry_may_share_a_host(tmp_path: Path) -> None:
    found = load(tmp_path, parties=HOSTS.replace("registry.gitlab.test:5050", "gitlab.test"))
    assert found.relying_parties["images"].host == found.relying_parties["code"].host


def test_in_the_sandbox_ecr_has_an_endpoint_on_loopback(tmp_path: Path) -> None:
    parties = HOSTS.replace('provider = "ecr"', 'provider = "ecr"\nendpoint = "http://127.0.0.1:5000"')
    found = load(tmp_path, parties=parties, sandbox=True)
    assert found.relying_parties["ecr"].endpoint == "http://127.0.0.1:5000"


PIPELINE = """version = 1
[scope.any-image]
about = "Pull images of any project"
project = "shop/*"
namespace_id = 5
origins = ["pipeline"]
access = "read"
[scope.any-image.git]
relying_party = "code"
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('relying_party = "images"', 'relying_party = "code"', 10, "'code' is of kind git, not registry; name another one"),
        ('relying_party = "code"', 'relying_party = "images"', 12, "'images' is of kind registry, not git"),
        ('relying_party = "code"', 'relying_party = "code"\npermissions = ["read_repository"]', 13, "unknown key 'permissions'"),
        ('permissions = ["write_registry", "read_registry"]', 'permissions = ["write_repository"]', 22, "'permissions' knows read_registry, write_registry, not 'write_repository'"),
        ('permissions = ["write_registry", "read_registry"]', 'permissions = ["write_registry"]', 22, 'whoever pushes also pulls; write permissions = ["read_registry"], with or without write_registry'),
        ('permissions = ["write_registry", "read_registry"]', "permissions = []", 22, "whoever pushes also pulls"),
        ('access = "write"', 'access = "read"', 20, 'write_registry is for scopes that write; write access = "write", or remove it'),
        ('relying_party = "ecr"', 'relying_party = "ecr"\npermissions = ["read_registry"]', 37, "a cloud's registry asks its own IAM what may be done; remove permissions"),
        ('relying_party = "ecr"', 'relying_party = "ecr"\nrole = "x"', 37, "unknown key 'role'"),
        ("iam::111122223333", "iam::444455556666", 35, "the registry is of the account 111122223333, and the scope's role of 444455556666; name a role of 111122223333, or another registry"),
        ("outlives = true", "outlives = false", 30, "an ECR login lives 12 h, longer than any scope; add outlives = true"),
        ('[scope.ecr-reader.aws]\nrelying_party = "aws-staging"\nrole_arn = "arn:aws:iam::111122223333:role/ecr-reader"\nregion = "eu-central-1"\n', "", 31, "a registry of ECR is reached with the scope's AWS role, and it has none; add [scope.ecr-reader.aws] with a role of the account 111122223333"),
    ],
)  # fmt: skip
def test_a_scope_that_could_not_work_is_refused(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    assert old in SCOPES
    with pytest.raises(PolicyError) as refused:
        load(tmp_path, scopes=SCOPES.replace(old, new, 1))
    assert f"billing.toml:{line}: " in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize("project", ['project = "shop/*"\nnamespace_id = 5', 'project = "shop/billing"'])
def test_a_deploy_token_is_made_in_one_project(tmp_path: Path, project: str) -> None:
    scopes = PIPELINE.replace('project = "shop/*"\nnamespace_id = 5', project)
    with pytest.raises(
        PolicyError, match=r"billing\.toml:\d+: a deploy token is made in one project; name one project"
    ):
        load(tmp_path, scopes=scopes)


# --- the minter -------------------------------------------------------------------------------------------------------


def test_a_policy_that_orders_needs_a_minter_and_says_where(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as refused:
        load(tmp_path, minter=False)
    said = 'deploy tokens are made by the minter, and none is configured; add [minter] url = "https://…" to issuer.toml'
    assert str(refused.value) == f"{tmp_path}/policy/billing.toml:9: {said}"
    ecr_alone = "version = 1\n" + SCOPES[SCOPES.index("[scope.ecr-reader]") :]
    assert list(load(tmp_path, minter=False, scopes=ecr_alone).scopes) == ["ecr-reader"]


async def test_an_issuer_without_a_minter_refuses_to_start_and_to_reload(tmp_path: Path) -> None:
    path = write_files(tmp_path, gitlab="https://gitlab.test", idp="https://idp.test")
    write(tmp_path)
    with pytest.raises(PolicyError, match="none is configured; add \\[minter\\] url"):
        async with running(configuration.load(path)):
            pass
    (tmp_path / "elsewhere").mkdir()
    async with open_company(tmp_path / "elsewhere") as company:
        before = company.issuer.in_force.policy.digest
        write(company.folder)
        with pytest.raises(PolicyError, match="none is configured"):
            await company.issuer.desk().act("reload", {})
        assert company.issuer.in_force.policy.digest == before


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[minter]\n", "'url' is missing"),
        ('[minter]\nurl = "http://minter.test"\n', "'http://minter.test' is not an https URL without query"),
        ('[minter]\nurl = "https://minter.test?x=1"\n', "is not an https URL without query"),
        ('[minter]\nurl = "https://minter.test"\nkey = "x"\n', "unknown key 'key'"),
    ],
)
def test_the_minters_table_is_strict(tmp_path: Path, table: str, said: str) -> None:
    path = write_files(tmp_path, gitlab="https://gitlab.test", idp="https://idp.test", extra=table)
    with pytest.raises(ConfigError, match=r"issuer\.toml:\d+: ") as refused:
        configuration.load(path)
    assert said in str(refused.value)


@pytest.mark.parametrize("url", ["https://minter.test/", "http://127.0.0.1:9000"])
def test_the_minters_address_is_https_or_on_the_sandboxs_loopback(tmp_path: Path, url: str) -> None:
    extra = f'[minter]\nurl = "{url}"\n'
    path = write_files(tmp_path, gitlab="https://gitlab.test", idp="https://idp.test", extra=extra)
    assert configuration.load(path).minter == url.rstrip("/")
    path.write_text(path.read_text().replace("sandbox = true", ""))
    if url.startswith("http:"):
        with pytest.raises(ConfigError, match="is not an https URL"):
            configuration.load(path)


# --- what people are shown --------------------------------------------------------------------------------------------


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path, extra=MINTER, change=write_all) as opened:
        yield opened


def write_all(folder: Path) -> None:
    write(folder, parties=HOSTS.replace('provider = "ecr"', 'provider = "ecr"\nendpoint = "http://127.0.0.1:5000"'))


async def test_the_catalogue_says_where_each_is(company: Company) -> None:
    laptop, token = await company.signed_in()
    _, body = await laptop.call("GET", "/catalogue", token)
    rows: dict[str, list[Row]] = {row["name"]: row["targets"] for row in body["scopes"]}
    images = {"relying_party": "images", "kind": "registry", "host": "registry.gitlab.test:5050", "provider": "gitlab"}
    assert rows["image-reader"] == [
        images | {"permissions": ["read_registry"]},
        {"relying_party": "code", "kind": "git", "host": "gitlab.test"},
    ]
    assert rows["image-writer"] == [images | {"permissions": ["read_registry", "write_registry"]}]
    assert rows["ecr-reader"][1] == {
        "relying_party": "ecr",
        "kind": "registry",
        "host": ECR_HOST,
        "provider": "ecr",
        "region": "eu-west-1",
        "endpoint": "http://127.0.0.1:5000",
    }


async def test_the_issuer_makes_nothing_for_ecr(company: Company) -> None:
    laptop, token = await company.signed_in()
    status, body = await laptop.token(token, scope="ecr-reader", audience="ecr")
    assert (status, body["error"]) == (400, "invalid_target")
    assert body["error_description"] == "scope ecr-reader has the relying parties aws-staging; choose one as audience"


def test_a_catalogue_of_ecr_outside_the_sandbox_has_no_endpoint(tmp_path: Path) -> None:
    from juniperd.issuer.catalogue import _target

    target = load(tmp_path).scopes["ecr-reader"].targets[1]
    assert "endpoint" not in _target(target)


def test_a_review_sees_who_gains_a_registry_and_what_moved(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    before = SCOPES.replace('permissions = ["write_registry", "read_registry"]', "")
    before = before.replace('[scope.image-reader.git]\nrelying_party = "code"\n', "")
    lines = policy_diff.compare(
        load(old, scopes=before), load(new, parties=HOSTS.replace("gitlab.test:5050", "new.test"))
    )
    reads, pushes = (
        "read image-reader: the registry images with read_registry",
        "write image-writer: the registry images",
    )
    assert lines == [
        f"gains: image-reader reaches {reads}, the repository at code; it reached {reads}",
        f"gains: image-writer reaches {pushes} with read_registry, write_registry; it reached {pushes} with read_registry",
        "changes: relying party images host was registry.gitlab.test:5050, is registry.new.test, for image-reader, image-writer",
    ]
    gained = policy_diff.compare(load(old, scopes="version = 1"), load(new))
    assert any(line.endswith("role/ecr-reader at aws-staging, the registry ecr") for line in gained)


def test_pushing_from_a_laptop_is_worth_a_second_look(tmp_path: Path) -> None:
    policy = load(tmp_path)
    (finding,) = (f for f in lint.of_policy(policy, TODAY) if f.code == "laptop-pushes-images")
    assert finding.where[:2] == ("scope", "image-writer")
    pipelines = SCOPES.replace('origins = ["pipeline", "laptop"]', 'origins = ["pipeline"]')
    assert "laptop-pushes-images" not in {f.code for f in lint.of_policy(load(tmp_path, scopes=pipelines), TODAY)}


def test_what_cuts_is_named_for_each(tmp_path: Path) -> None:
    policy = load(tmp_path)
    scopes = policy.scopes.values()
    lines = cuts.advice(scopes, who=None, now=NOW)
    nothing = "nothing; the issuer has its deploy tokens deleted, each an order_ended in: juniper audit tail"
    assert [line for line in lines if not line.startswith("aws ")] == [
        f"registry images: {nothing}",
        f"git code: {nothing}",
        "registry ecr: the deny policy on its role of 111122223333 ends logins too; else they live 12 h",
    ]
    steps = cuts.distrust(policy.relying_parties.values(), scopes, now=NOW)
    assert [step.split(":")[0] for step in steps] == ["aws aws-staging", "minter", "aws aws-staging", "registry ecr"]
    ecr_alone = [policy.scopes["ecr-reader"]]
    assert not any(s.startswith("minter") for s in cuts.distrust(policy.relying_parties.values(), ecr_alone, now=NOW))


def test_policy_check_takes_it_without_knowing_of_a_minter(tmp_path: Path) -> None:
    write(tmp_path)
    found = policy_commands.check(lambda: policy_commands.Files(tmp_path / "policy", tmp_path / "relying_parties"))
    assert found.exit == 0, found.text
