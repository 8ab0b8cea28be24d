"""What a cluster is told beside the configuration, which tests/peers/test_apiserver.py puts before its reader."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd.issuer import commands, glob
from juniperd.sandbox.tls import certificates
from tests.issuer.doubles import write_files
from tests.issuer.test_clusters_and_apis import SCOPE, write

NAME = "billing-debugger"
URL = "https://issuer.test"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = write_files(tmp_path, gitlab="http://127.0.0.1:1", idp="http://127.0.0.1:2", url=URL)
    write(tmp_path)
    return path


def test_without_a_form_a_cluster_gets_the_configuration_of_today(config: Path) -> None:
    found = commands.trust_kubernetes(config, NAME)
    assert found.exit == 0
    document = json.loads(found.text)
    assert document["apiVersion"] == "apiserver.config.k8s.io/v1"
    (entry,) = document["jwt"]
    assert entry["issuer"] == {"url": URL, "audiences": ["staging-eu"]}
    listed = "['gitlab:project_env:42:staging', 'juniper:scope:billing-debugger']"
    assert any(listed in rule["expression"] for rule in entry["claimValidationRules"])
    older = json.loads(commands.trust_kubernetes(config, NAME, form="v1beta1").text)
    assert older == document | {"apiVersion": "apiserver.config.k8s.io/v1beta1"}


def test_the_issuers_ca_goes_into_it_and_a_file_that_holds_none_is_told(config: Path, tmp_path: Path) -> None:
    ca = tmp_path / "issuer-ca.pem"
    ca.write_bytes(certificates().ca)
    document = json.loads(commands.trust_kubernetes(config, NAME, ca_file=ca).text)
    assert document["jwt"][0]["issuer"]["certificateAuthority"] == ca.read_text()
    for other in (config, tmp_path / "missing"):
        found = commands.trust_kubernetes(config, NAME, ca_file=other)
        assert (found.exit, "holds no certificates; name the PEM file" in found.text) == (78, True)


def test_an_older_server_gets_flags_and_hears_what_they_cannot_say(config: Path) -> None:
    lines = commands.trust_kubernetes(config, NAME, form="flags", ca_file=Path("/etc/issuer.pem")).text.splitlines()
    said = {line for line in lines if not line.startswith("#")}
    assert said == {
        f"--oidc-issuer-url={URL}",
        "--oidc-client-id=staging-eu",
        "--oidc-username-claim=preferred_username",
        "--oidc-username-prefix=juniper:",
        "--oidc-groups-claim=groups",
        "--oidc-required-claim=juniper_origin=laptop",
        "--oidc-required-claim=environment=staging",
        "--oidc-ca-file=/etc/issuer.pem",
        "--oidc-signing-algs=RS256",
    }
    assert any("these flags cannot say: which groups" in line for line in lines)


def test_flags_pin_no_environment_where_the_scopes_have_several(config: Path, tmp_path: Path) -> None:
    more = SCOPE[SCOPE.index("[scope.billing-debugger]") : SCOPE.index("[scope.billing-debugger.aws]")]
    more = more.replace("billing-debugger", "billing-reviewer").replace('"staging"', '"review/*"')
    more += '[scope.billing-reviewer.kubernetes]\nrelying_party = "staging-eu"\nnamespace = "review"\n'
    write(tmp_path, scopes=SCOPE + more)
    text = commands.trust_kubernetes(config, NAME, form="flags").text
    assert "--oidc-required-claim=environment" not in text
    assert "# nor which environments" in text


def test_bindings_give_the_scopes_own_group_and_widen_no_pipelines(config: Path) -> None:
    role, binding = json.loads(commands.trust_kubernetes(config, NAME, form="bindings").text)["items"]
    assert {role["metadata"]["namespace"], binding["metadata"]["namespace"]} == {"billing"}
    assert [subject["name"] for subject in binding["subjects"]] == ["juniper:scope:billing-debugger"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"] == "juniper-billing-debugger"
    verbs = {verb for rule in role["rules"] for verb in rule["verbs"]}
    resources = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert verbs == {"get", "list", "watch"}
    assert not resources & {"secrets", "pods/exec"}
    role, _ = json.loads(commands.trust_kubernetes(config, "billing-deployer", form="bindings").text)["items"]
    assert {"apiGroups": [""], "resources": ["pods/exec", "pods/portforward"], "verbs": ["get", "create"]} in role[
        "rules"
    ]


def test_eks_gets_an_access_entry_for_the_role_and_no_provider(config: Path) -> None:
    words = shlex.split(commands.trust_kubernetes(config, "billing-deployer").text)
    assert words[:3] == ["aws", "eks", "create-access-entry"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert options == {
        "--region": "eu-west-1",
        "--cluster-name": "staging-7",
        "--principal-arn": "arn:aws:iam::111122223333:role/billing-deployer",
        "--type": "STANDARD",
        "--kubernetes-groups": "juniper:scope:billing-deployer",
    }
    text = commands.trust_kubernetes(config, "billing-deployer", form="terraform").text
    assert 'principal_arn     = "arn:aws:iam::111122223333:role/billing-deployer"' in text
    for form in ("v1", "v1beta1", "flags"):
        refused = commands.trust_kubernetes(config, "billing-deployer", form=form)
        assert refused.exit == 78
        assert refused.text.endswith("run: juniper issuer trust kubernetes billing-deployer")


def test_an_eks_cluster_that_is_not_called_one_is_noticed(config: Path, tmp_path: Path) -> None:
    parties = (tmp_path / "relying_parties" / "aws.toml").read_text()
    parties = parties.replace("https://k8s.test:6443/", "https://A1.gr7.eu-west-1.eks.amazonaws.com")
    (tmp_path / "relying_parties" / "aws.toml").write_text(parties)
    refused = commands.trust_kubernetes(config, NAME)
    assert refused.text.endswith("set eks and region in [relying_party.staging-eu]")


@pytest.mark.parametrize(
    ("scope", "form", "cure"),
    [
        ("nothing", "", "run: juniper policy check"),
        ("billing-writer", "", "add [scope.billing-writer.kubernetes] to the policy"),
        ("billing-writer", "bindings", "add [scope.billing-writer.kubernetes] to the policy"),
        (NAME, "terraform", f"add [scope.{NAME}.aws] and a relying party with eks and region"),
    ],
)
def test_what_cannot_be_told_names_its_cure(config: Path, scope: str, form: str, cure: str) -> None:
    refused = commands.trust_kubernetes(config, scope, form=form)
    assert (refused.exit, refused.text.endswith(cure)) == (78, True), refused


def rules(config: Path) -> list[str]:
    (entry,) = json.loads(commands.trust_kubernetes(config, NAME).text)["jwt"]
    return [rule["expression"] for rule in entry["claimValidationRules"]]


@pytest.mark.parametrize("named", [("laptop",), ("pipeline",), ("laptop", "pipeline")], ids="+".join)
def test_each_scope_is_pinned_to_its_own_origins(config: Path, tmp_path: Path, named: tuple[str, ...]) -> None:
    write(tmp_path, scopes=SCOPE.replace('origins = ["laptop"]', f"origins = {json.dumps(named)}", 1))
    listed = ", ".join(f"'{one}'" for one in named)
    subjects = ", ".join(f"'scope:{NAME}:origin:{one}:project_id:42'" for one in named)
    found = rules(config)
    assert f"claims.juniper_origin in [{listed}]" in found
    pinned = f"claims.sub in [{subjects}] && claims.environment == 'staging'"
    assert f"claims.juniper_scope != '{NAME}' || ({pinned})" in found
    flags = commands.trust_kubernetes(config, NAME, form="flags").text
    required = [line for line in flags.splitlines() if "juniper_origin=" in line]
    assert required == ([f"--oidc-required-claim=juniper_origin={named[0]}"] if len(named) == 1 else [])


def test_a_pipeline_s_scope_without_environment_pins_none(config: Path, tmp_path: Path) -> None:
    mine = SCOPE.replace('origins = ["laptop"]', 'origins = ["pipeline"]', 1).replace(
        'environment = "staging"\n', "", 1
    )
    mine = mine.replace('groups = ["gitlab:project_env:42:staging"]\n', "", 1)
    write(tmp_path, scopes=mine)
    pinned = f"claims.sub in ['scope:{NAME}:origin:pipeline:project_id:42']"
    assert f"claims.juniper_scope != '{NAME}' || ({pinned})" in rules(config)
    assert "# nor which environments" in commands.trust_kubernetes(config, NAME, form="flags").text


def test_a_cluster_with_a_scope_of_many_projects_is_told_nothing_by_halves(config: Path, tmp_path: Path) -> None:
    more = """
[scope.group-migrator]
about = "Migrate what any project of the group stores"
project = "shop/*"
namespace_id = 5
origins = ["pipeline"]
access = "write"
[scope.group-migrator.kubernetes]
relying_party = "staging-eu"
namespace = "billing"
"""
    write(tmp_path, scopes=SCOPE + more)
    refused = commands.trust_kubernetes(config, NAME)
    assert (refused.exit, "scope group-migrator is for shop/* without project_id" in refused.text) == (78, True)


@given(st.text("ab./*", min_size=1, max_size=8), st.text("ab./\n", max_size=8))
def test_a_pattern_as_an_expression_matches_what_the_pattern_matches(pattern: str, text: str) -> None:
    """Python's ``$`` forgives a last line feed where RE2's does not, so the whole string is asked for here."""
    if glob.flaw(pattern) is None:
        assert (re.fullmatch(glob.as_re2(pattern), text) is not None) is glob.matches(pattern, text)


def test_a_pattern_of_environments_is_an_expression_of_its_own(config: Path, tmp_path: Path) -> None:
    mine = SCOPE.replace('environment = "staging"', 'environment = "review/*"', 1)
    write(tmp_path, scopes=mine.replace("project_env:42:staging", "project_env:42:review-42", 1))
    assert any(f"claims.environment.matches('{glob.as_re2('review/*')}')" in rule for rule in rules(config))


def test_an_issuer_on_plain_http_is_refused_before_the_cluster_refuses_it(config: Path) -> None:
    config.write_text(config.read_text().replace(f'url = "{URL}"', 'url = "http://127.0.0.1:9"'))
    found = commands.trust_kubernetes(config, NAME)
    assert "an API server takes no issuer at http://127.0.0.1:9; set an https URL" in found.text
