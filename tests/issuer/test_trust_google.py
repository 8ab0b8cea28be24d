"""What Google Cloud is told, against a Google that reads it: the sandbox's, which understands no more than this."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from juniperd.errors import ConfigError
from juniperd.issuer import commands
from juniperd.issuer.trust import google
from juniperd.sandbox import google_cel
from juniperd.sandbox.google_cloud import Provider
from tests.issuer.doubles import write_files
from tests.issuer.test_google import ACCOUNT, AUDIENCE, GOOGLE, POOL, SCOPES, load, write

SCOPE = "invoice-export-reader"
URL = "https://issuer.test/juniper"
CLAIMS = {
    "juniper_origin": "laptop",
    "juniper_scope": SCOPE,
    "user_id": "7",
    "sub": f"scope:{SCOPE}:origin:laptop:project_id:42",
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = write_files(tmp_path, gitlab="http://127.0.0.1:1", idp="http://127.0.0.1:2", url=URL)
    write(tmp_path)
    return path


def options(line: str) -> dict[str, str]:
    return dict(word[2:].split("=", 1) for word in shlex.split(line) if word.startswith("--"))


def told(text: str) -> Provider:
    """The provider that gcloud would make."""
    line = next(one for one in text.splitlines() if " create-oidc " in one)
    said = options(line)
    mapping = dict(part.split("=", 1) for part in said["attribute-mapping"].split(","))
    jwks = None
    if "jwk-json-path" in said:
        jwks = json.loads(text.partition("<<'END'\n")[2].partition("\nEND\n")[0])
    pool = f"projects/{said['project']}/locations/global/workloadIdentityPools/{said['workload-identity-pool']}"
    name = f"{pool}/providers/{shlex.split(line)[5]}"
    return Provider(name, said["issuer-uri"], mapping, said["attribute-condition"], jwks)


@pytest.mark.parametrize("named", [("laptop",), ("pipeline",), ("laptop", "pipeline")], ids="+".join)
def test_the_provider_takes_the_origins_of_the_scope_and_no_other(config: Path, named: tuple[str, ...]) -> None:
    write(config.parent, scopes=SCOPES.replace('origins = ["laptop"]', f"origins = {json.dumps(named)}"))
    holds = google_cel.condition(told(commands.trust_google(config, SCOPE).text).condition)
    for origin in ("laptop", "pipeline"):
        said = {"juniper_origin": origin, "sub": f"scope:{SCOPE}:origin:{origin}:project_id:42"}
        assert holds(CLAIMS | said) is (origin in named)


def test_the_provider_takes_the_scope_s_laptops_and_nobody_else(config: Path) -> None:
    found = commands.trust_google(config, SCOPE)
    assert found.exit == 0, found.text
    provider = told(found.text)
    assert f"//iam.googleapis.com/{provider.name}" == AUDIENCE
    assert (provider.issuer, provider.takes(AUDIENCE)) == (URL, True)
    holds = google_cel.condition(provider.condition)
    assert holds(CLAIMS)
    assert not holds(CLAIMS | {"juniper_origin": "pipeline"})
    assert not holds(CLAIMS | {"sub": f"scope:{SCOPE}:origin:laptop:project_id:43"})
    with pytest.raises(google_cel.CelError):
        holds({})
    mapped = {name: google_cel.mapping(text)(CLAIMS) for name, text in provider.mapping.items()}
    assert mapped == {"google.subject": f"laptop:7:{SCOPE}", "attribute.juniper_scope": SCOPE}


def test_the_binding_is_for_the_scope_alone(config: Path) -> None:
    *_, line = commands.trust_google(config, SCOPE).text.splitlines()
    assert shlex.split(line)[:5] == ["gcloud", "iam", "service-accounts", "add-iam-policy-binding", ACCOUNT]
    member = f"principalSet://iam.googleapis.com/{POOL}/attribute.juniper_scope/{SCOPE}"
    assert options(line) == {"role": "roles/iam.workloadIdentityUser", "member": member}


def test_every_command_stands_alone_in_a_shell(config: Path) -> None:
    lines = commands.trust_google(config, SCOPE).text.splitlines()
    assert [shlex.split(line)[0] for line in lines if not line.startswith("#")] == ["gcloud"] * 3


def test_the_keys_go_along_where_google_cannot_fetch_them(config: Path) -> None:
    provider = told(commands.trust_google(config, SCOPE, uploaded=True).text)
    assert provider.jwks is not None
    assert [set(key) >= {"kid", "n", "e"} and "d" not in key for key in provider.jwks["keys"]] == [True]
    text = commands.trust_google(config, SCOPE, form="terraform", uploaded=True).text
    inner = re.search(r"jwks_json  = (.*)", text)
    assert inner is not None
    assert json.loads(json.loads(inner[1])) == provider.jwks


def test_terraform_says_the_same(config: Path) -> None:
    text, provider = (
        commands.trust_google(config, SCOPE, form="terraform").text,
        told(commands.trust_google(config, SCOPE).text),
    )
    assert f"attribute_condition                = {json.dumps(provider.condition)}" in text
    for name, expression in provider.mapping.items():
        assert f"{json.dumps(name)} = {json.dumps(expression)}" in text
    assert f'service_account_id = "projects/shop-staging/serviceAccounts/{ACCOUNT}"' in text
    assert "jwks_json" not in text
    # Of the commands the first comment says the same: what is once for all, and what is for this scope.
    shared, own = text.split(f"\n# for {SCOPE}\n")
    assert shared.startswith("# once for google-staging")
    assert (shared.count("resource "), own.count("resource ")) == (2, 1)


def test_without_an_account_the_binding_is_the_resource_s(config: Path) -> None:
    write(config.parent, scopes=SCOPES.replace(f'service_account = "{ACCOUNT}"\n', "").replace('ttl = "30m"\n', ""))
    assert "gs://BUCKET --role=ROLE --member=principalSet://" in commands.trust_google(config, SCOPE).text
    assert "# no service account" in commands.trust_google(config, SCOPE, form="terraform").text


def test_the_longest_subject_fits() -> None:
    """Origin, the largest id that GitLab's data base holds, the longest name of a scope."""
    longest = {"juniper_origin": "pipeline", "user_id": str(2**63), "juniper_scope": "s" * 48}
    assert len(google_cel.mapping(google.SUBJECT)(longest).encode()) == 77 <= google.LONGEST_SUBJECT


def many(count: int) -> str:
    one = SCOPES[SCOPES.index("[scope") :]
    return "version = 1\n" + "".join(one.replace(SCOPE, f"{SCOPE}-{n:03}") for n in range(count))


def test_a_condition_that_google_would_not_take_is_not_printed(tmp_path: Path) -> None:
    few, lots = load(tmp_path, scopes=many(60)), load(tmp_path, scopes=many(80))
    text = google.condition(few, few.relying_parties["google-staging"])
    assert text.count("scope:") == 60
    google_cel.condition(text)
    with pytest.raises(
        ConfigError, match=r"the condition for the 80 scopes of google-staging has .* and Google takes 4096"
    ):
        google.condition(lots, lots.relying_parties["google-staging"])


@pytest.mark.parametrize("form", ["commands", "terraform"])
def test_what_cannot_be_told_names_its_cure(config: Path, form: str) -> None:
    pattern = SCOPES.replace('project = "shop/billing"\nproject_id = 42', 'project = "shop/*"\nnamespace_id = 5')
    write(config.parent, scopes=pattern.replace('origins = ["laptop"]', 'origins = ["pipeline"]'))
    assert "no one subject to pin; give it project_id" in commands.trust_google(config, SCOPE, form=form).text
    config.write_text(config.read_text().replace(f'url = "{URL}"', 'url = "http://127.0.0.1:9"'))
    write(config.parent)
    found = commands.trust_google(config, SCOPE, form=form)
    assert "Google takes no issuer at http://127.0.0.1:9; set an https URL" in found.text


def test_another_party_s_scopes_stand_in_no_condition(tmp_path: Path) -> None:
    other = (
        GOOGLE + f'[relying_party.google-two]\nkind = "google"\naudience = "{AUDIENCE.replace("issuer", "second")}"\n'
    )
    second = SCOPES[SCOPES.index("[scope") :].replace(SCOPE, "second-reader").replace("google-staging", "google-two")
    policy = load(tmp_path, parties=other, scopes=SCOPES + second)
    assert "second-reader" not in google.condition(policy, policy.relying_parties["google-staging"])
    assert "second-reader" in google.condition(policy, policy.relying_parties["google-two"])


def test_a_cluster_on_gke_is_told_of_the_account_and_not_of_us(config: Path) -> None:
    refused = commands.trust_kubernetes(config, SCOPE)
    assert refused.text.endswith(f"it takes the scope's Google access token; run: juniper issuer trust google {SCOPE}")
    role, binding = json.loads(commands.trust_kubernetes(config, SCOPE, form="bindings").text)["items"]
    (subject,) = binding["subjects"]
    assert (subject["kind"], subject["name"], role["metadata"]["namespace"]) == ("User", ACCOUNT, "export")
    write(config.parent, scopes=SCOPES.replace(f'service_account = "{ACCOUNT}"\n', "").replace('ttl = "30m"\n', ""))
    assert "by another name; add service_account" in commands.trust_kubernetes(config, SCOPE, form="bindings").text
