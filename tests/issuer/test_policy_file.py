"""Policy files are strict: each flaw is an error that names file, line and cure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from juniperd.errors import PolicyError
from juniperd.issuer import glob, lint, policy_file
from juniperd.issuer.policy import Access, Activation, KubernetesTarget, Policy
from juniperd.model import Origin
from tests.issuer.doubles import PARTIES, TODAY

SCOPE = """version = 1
[scope.archive]
about = "x"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "read"
[scope.archive.aws]
relying_party = "aws-staging"
role_arn = "arn:aws:iam::111122223333:role/archive"
region = "eu-west-1"
"""
EKS = """[relying_party.staging-eu]
kind = "kubernetes"
audience = "staging-eu"
server = "https://k8s.example.com"
"""


def load(folder: Path, text: str, parties: str = PARTIES, *, sandbox: bool = False) -> Policy:
    (folder / "billing.toml").write_text(text)
    (folder / "parties").mkdir(exist_ok=True)
    (folder / "parties" / "aws.toml").write_text(parties)
    return policy_file.load(folder / "billing.toml", folder / "parties", sandbox=sandbox)


def with_line(text: str, number: int = 8) -> str:
    """The scope with one more line after line ``number``."""
    lines = SCOPE.splitlines()
    return "\n".join([*lines[:number], text, *lines[number:]]) + "\n"


def without(key: str) -> str:
    return "\n".join(line for line in SCOPE.splitlines() if not line.startswith(key)) + "\n"


def changed(key: str, value: str) -> str:
    return re.sub(rf"(?m)^{key} = .*$", lambda _: f"{key} = {value}", SCOPE, count=1)


FLAWS: dict[str, tuple[str, int, str]] = {
    "an unknown key": (with_line('colour = "red"'), 9, "unknown key 'colour'"),
    "a key of a job": (with_line('branch = "main"'), 9, "unknown key 'branch'"),
    "an unknown table": (SCOPE + "[scope.archive.gcp]\nx = 1\n", 13, "unknown key 'gcp'"),
    "an unknown top-level table": (SCOPE + "[defaults]\nx = 1\n", 13, "unknown key 'defaults'"),
    "a relying party among scopes": (SCOPE + EKS, SCOPE.count("\n") + 1, "unknown key 'relying_party'"),
    "no version": (SCOPE.replace("version = 1\n", ""), 1, "'version' is missing"),
    "a newer version": (SCOPE.replace("version = 1", "version = 2"), 1, "newer than this program"),
    "an unknown role": (with_line('role = "admin"'), 9, "'role' must be one of"),
    "an unknown access": (changed("access", '"root"'), 8, "'access' must be one of"),
    "an unknown origin": (changed("origins", '["phone"]'), 7, "not 'phone'"),
    "no origin": (changed("origins", "[]"), 7, "nobody could hold"),
    "origins missing": (without("origins"), 2, "'origins' is missing"),
    "an unknown activation": (with_line('activation = "always"'), 9, "'activation' must be one of"),
    "an unanchored environment": (changed("environment", '"*"'), 6, "not anchored"),
    "an environment that begins with stars": (changed("environment", '"**/staging"'), 6, "not anchored"),
    "a regular expression": (changed("environment", '"^staging$"'), 6, "a character that no pattern has"),
    "a bracket": (changed("environment", '"review/[0-9]"'), 6, "a character that no pattern has"),
    "nine wildcards": (changed("environment", '"r*a*a**a*a*a*a*a*a*"'), 6, "more than 8 wildcards"),
    "a letter that only looks like one": (
        changed("environment", '"st\u0430ging"'),
        6,
        "a character that no pattern has",
    ),
    "no production at all": (SCOPE + "[production]\nenvironments = []\n", 14, "no environment is production"),
    "three stars": (changed("environment", '"review/***"'), 6, "more than two stars"),
    "no environment for a laptop": (without("environment"), 2, "needs environment"),
    "no project id for a laptop": (without("project_id"), 4, "needs project_id"),
    "project id 0": (changed("project_id", "0"), 5, "a GitLab id"),
    "project id as text": (changed("project_id", '"42"'), 5, "a whole number"),
    "project id as true": (changed("project_id", "true"), 5, "a whole number"),
    "a project without a group": (changed("project", '"billing"'), 4, "full path"),
    "a project pattern for laptops": (changed("project", '"shop/*"'), 4, "for pipelines only"),
    "a bare ref": (with_line('ref = "main"'), 9, "neither branch:NAME nor tag:NAME"),
    "an unanchored ref": (with_line('ref = "branch:*"'), 9, "not anchored"),
    "an empty ref": (with_line('ref = "branch:"'), 9, "empty"),
    "a ref that says nothing": (with_line('ref = ""'), 9, "'ref' is empty"),
    "an environment that says nothing": (changed("environment", '""'), 6, "'environment' is empty"),
    "a longer life": (with_line('ttl = "2h"'), 9, "an hour at most"),
    "a shorter life at aws": (with_line('ttl = "30m"'), 9, "exactly 1h"),
    "a life in words": (with_line('ttl = "soon"'), 9, "not a length of time"),
    "a name in capitals": (SCOPE.replace("scope.archive", "scope.Archive"), 3, "is not a name"),
    "a name of 49 letters": (SCOPE.replace("scope.archive", "scope." + "a" * 49), 3, "is not a name"),
    "no target": (SCOPE.partition("[scope.archive.aws]")[0], 3, "no target"),
    "an unknown relying party": (changed("relying_party", '"elsewhere"'), 10, "no relying party 'elsewhere'"),
    "a role that is no ARN": (changed("role_arn", '"archive"'), 11, "not the ARN"),
    "a role with a wildcard": (changed("role_arn", '"arn:aws:iam::111122223333:role/*"'), 11, "not the ARN"),
    "a region of its own": (changed("region", '"moon"'), 12, "not a region"),
    "a basis": (with_line('laptop_basis = "read"'), 9, "'laptop_basis' must be one of"),
    "production for nobody": (with_line("laptop_production = {users = [], until = 2026-12-31}"), 9, "user ids"),
    "production for names": (with_line('laptop_production = {users = ["me"], until = 2026-12-31}'), 9, "user ids"),
    "production for ever": (with_line("laptop_production = {users = [7]}"), 9, "is a date"),
    "production until a text": (with_line('laptop_production = {users = [7], until = "2026"}'), 9, "is a date"),
    "production with more": (
        with_line("laptop_production = {users = [7], until = 2026-12-31, x = 1}"),
        9,
        "unknown key 'x'",
    ),
    "a sibling that is not there": (with_line('read_only = "other"'), 9, "no scope 'other'"),
    "a sign-in by nothing": (with_line("sign_in = []"), 9, "'sign_in' is empty, so no sign-in would do"),
    "a sign-in by mail": (with_line('sign_in = ["mail"]'), 9, "not 'mail'"),
    "laptops' keys without laptops": (
        with_line('sign_in = ["browser"]').replace('["laptop"]', '["pipeline"]'),
        9,
        "'sign_in' is about laptops, and the scope is for none",
    ),
    "a flag as text": (with_line('outlives = "yes"'), 9, "true or false"),
    "a table within a value": (SCOPE.replace("role_arn =", "role_arn.x ="), 9, "'role_arn' must be text"),
    "not TOML": (SCOPE + "[[[\n", 13, ""),
    "a number longer than Python reads": (changed("project_id", "9" * 5000), 0, "exceeds the limit"),
    "lists in lists without end": (with_line("x = " + "[" * 5000), 0, "recursion"),
    "the same table twice": (SCOPE + SCOPE.partition("\n")[2], 13, "twice"),
}


@pytest.mark.parametrize(
    ("origins", "sources", "words"),
    [('["laptop"]', '["push"]', "the scope is for none"), ('["pipeline"]', "[]", "no pipeline could hold the scope")],
)
def test_sources_are_of_pipelines_and_name_some(tmp_path: Path, origins: str, sources: str, words: str) -> None:
    text = changed("origins", origins).replace("access", f"sources = {sources}\naccess", 1)
    with pytest.raises(PolicyError, match=words):
        load(tmp_path, text)


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_names_file_line_and_cure(tmp_path: Path, name: str) -> None:
    text, line, words = FLAWS[name]
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, text)
    assert words in caught.value.message
    assert str(tmp_path / "billing.toml") in caught.value.message
    if line:
        assert f"billing.toml:{line}:" in caught.value.message
    assert caught.value.remedy
    assert not str(caught.value).endswith(".")


PARTY_FLAWS = {
    "a re-used audience": (
        PARTIES + PARTIES.partition("\n")[2].replace("aws-staging", "aws-other"),
        "is already the one of",
    ),
    "an unknown kind": (PARTIES.replace('"aws"', '"azure"'), "'kind' must be one of"),
    "an unknown key": (PARTIES + 'region = "x"\n', "unknown key 'region'"),
    "an empty audience": (PARTIES.replace("juniper:aws:111122223333", ""), "1 to 255"),
    "an endpoint outside the sandbox": (PARTIES + 'endpoint = "http://127.0.0.1:1"\n', "for the sandbox"),
    "a plain server": (PARTIES + EKS.replace("https", "http"), "not an https URL"),
    "a scope": (PARTIES + SCOPE.partition("\n")[2], "unknown key 'scope'"),
}


@pytest.mark.parametrize("name", PARTY_FLAWS)
def test_a_flaw_of_a_relying_party_is_told(tmp_path: Path, name: str) -> None:
    text, words = PARTY_FLAWS[name]
    with pytest.raises(PolicyError, match=re.escape(words)):
        load(tmp_path, SCOPE, text)


def test_an_endpoint_is_for_loopback_even_in_the_sandbox(tmp_path: Path) -> None:
    good = load(tmp_path, SCOPE, PARTIES + 'endpoint = "http://127.0.0.1:1"\n', sandbox=True)
    assert good.relying_parties["aws-staging"].endpoint == "http://127.0.0.1:1"
    with pytest.raises(PolicyError, match="for the sandbox"):
        load(tmp_path, SCOPE, PARTIES + 'endpoint = "http://10.0.0.1:1"\n', sandbox=True)


def test_a_scope_in_two_files_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    folder.mkdir()
    for name in ("a.toml", "b.toml"):
        (folder / name).write_text(SCOPE)
    (tmp_path / "aws.toml").write_text(PARTIES)
    with pytest.raises(PolicyError, match=r"b\.toml:3: scope 'archive' is declared twice"):
        policy_file.load(folder, tmp_path / "aws.toml")


@pytest.mark.parametrize("stray", ["below/b.toml", "below/further/b.TOML", "b.TOML", "b.Toml"])
def test_a_file_that_would_be_passed_over_is_told(tmp_path: Path, stray: str) -> None:
    folder = tmp_path / "policy"
    (folder / stray).parent.mkdir(parents=True, exist_ok=True)
    (folder / "a.toml").write_text(SCOPE + PARTIES.partition("\n")[2])
    policy_file.load(folder)
    (folder / stray).write_text("version = 1\n")
    with pytest.raises(PolicyError, match=rf"{re.escape(stray)} would be passed over.*; move it to .*NAME\.toml"):
        policy_file.load(folder)


def test_what_is_hidden_or_no_policy_is_in_nobodys_way(tmp_path: Path) -> None:
    """A mount keeps its versions in hidden folders, with links to the files of the present one."""
    folder = tmp_path / "policy"
    (folder / "..2026").mkdir(parents=True)
    (folder / "..2026" / "a.toml").write_text(SCOPE + PARTIES.partition("\n")[2])
    (folder / "..data").symlink_to("..2026")
    (folder / "a.toml").symlink_to("..data/a.toml")
    (folder / "notes").mkdir()
    (folder / "notes" / "why.md").write_text("x")
    assert set(policy_file.load(folder).scopes) == {"archive"}


def test_an_empty_folder_is_no_policy(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="holds no"):
        policy_file.load(tmp_path)


def test_defaults_and_everything_a_scope_may_say(tmp_path: Path) -> None:
    text = changed("access", '"write"') + SCOPE.partition("\n")[2].replace("archive", "reader")
    text = text.replace('access = "write"', 'access = "write"\nread_only = "reader"')
    policy = load(tmp_path, text)
    writer, reader = policy.scopes["archive"], policy.scopes["reader"]
    assert (writer.activation, reader.activation) == (Activation.SESSION, Activation.SIGN_IN)
    assert (writer.access, writer.read_only, writer.ttl, writer.role) == (Access.WRITE, "reader", 3600.0, 30)
    assert writer.origins == {Origin.LAPTOP}
    assert policy.of_project(42) == (writer, reader)
    assert policy.of_project(43) == ()
    assert policy.laptop_projects == (42,)
    assert policy.digest.startswith("sha256:")


def test_a_sibling_differs_in_access_alone(tmp_path: Path) -> None:
    reader = SCOPE.partition("\n")[2].replace("archive", "reader").replace('"staging"', '"review"', 1)
    with pytest.raises(PolicyError, match="differs in project, environment or ref"):
        load(tmp_path, with_line('read_only = "reader"') + reader)


def test_kubernetes_lists_groups_of_its_own_project(tmp_path: Path) -> None:
    table = """[scope.archive.kubernetes]
relying_party = "staging-eu"
namespace = "billing"
groups = ["gitlab:project_env:42:staging"]
"""
    head = SCOPE.partition("[scope.archive.aws]")[0]
    policy = load(tmp_path, head + table, PARTIES + EKS)
    (target,) = policy.scopes["archive"].targets
    assert isinstance(target, KubernetesTarget)
    assert target.groups == ("gitlab:project_env:42:staging",)
    for group in ("gitlab:project_env:43:staging", "system:masters", "gitlab:project:42"):
        with pytest.raises(PolicyError, match="group"):
            load(tmp_path, head + table.replace("gitlab:project_env:42:staging", group), PARTIES + EKS)
    with pytest.raises(PolicyError, match="of kind aws"):
        load(tmp_path, head + table.replace("staging-eu", "aws-staging"), PARTIES + EKS)


def test_a_pattern_of_projects_needs_its_namespace(tmp_path: Path) -> None:
    text = changed("project", '"shop/*"').replace('"laptop"', '"pipeline"').replace("project_id = 42\n", "")
    with pytest.raises(PolicyError, match="needs namespace_id"):
        load(tmp_path, text)
    assert (
        load(tmp_path, text.replace("environment", "namespace_id = 5\nenvironment")).scopes["archive"].project_id
        is None
    )


def test_the_digest_is_of_the_very_text(tmp_path: Path) -> None:
    first = load(tmp_path, SCOPE).digest
    assert load(tmp_path, SCOPE).digest == first
    assert load(tmp_path, SCOPE + "# a remark\n").digest != first


def test_production_is_named_without_regard_to_case(tmp_path: Path) -> None:
    policy = load(tmp_path, SCOPE + '[production]\nenvironments = ["live", "prod/**"]\n')
    assert [policy.is_production(e) for e in ("live", "LIVE", "Prod/a/b", "prod", "alive", "production")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    assert load(tmp_path, SCOPE).is_production("Production")


def test_lint_names_what_is_wide(tmp_path: Path) -> None:
    text = with_line('laptop_basis = "merge"\nci_config_elsewhere = true').replace('"staging"', '"production"', 1)
    findings = lint.of_policy(load(tmp_path, text), TODAY)
    assert [f.code for f in findings] == ["merge-basis", "ci-config-elsewhere", "production-closed"]
    assert not lint.of_policy(load(tmp_path, SCOPE), TODAY)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("staging", "staging", True),
        ("staging", "Staging", False),
        ("review/*", "review/42", True),
        ("review/*", "review", False),
        ("review/*", "review/a/b", False),
        ("review/**", "review/a/b", True),
        ("review/*", "xreview/42", False),
        ("review/*", "review/42\n", True),
        ("a.c", "abc", False),
    ],
)
def test_globs_match_whole_strings(pattern: str, text: str, expected: bool) -> None:
    assert glob.matches(pattern, text) is expected


def test_what_two_files_say_twice_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    for name in ("a.toml", "b.toml"):
        (folder / name).write_text('version = 1\n[production]\nenvironments = ["live"]\n')
    with pytest.raises(PolicyError, match="stands in two files"):
        policy_file.load(folder)
    for name in ("a.toml", "b.toml"):
        (folder / name).write_text(PARTIES)
    with pytest.raises(PolicyError, match="is declared twice"):
        policy_file.load(folder)


def test_a_pipeline_scope_without_an_environment_is_allowed_and_linted(tmp_path: Path) -> None:
    policy = load(tmp_path, without("environment").replace('"laptop"', '"pipeline"'))
    assert policy.scopes["archive"].environment is None
    assert policy.laptop_projects == ()
    assert "every job of shop/billing" in str(lint.of_policy(policy, TODAY)[0])


def test_a_namespace_is_one_name(tmp_path: Path) -> None:
    head = SCOPE.partition("[scope.archive.aws]")[0]
    table = '[scope.archive.kubernetes]\nrelying_party = "staging-eu"\nnamespace = "Billing/x"\n'
    with pytest.raises(PolicyError, match="is not a namespace"):
        load(tmp_path, head + table, PARTIES + EKS)
