"""The tools' own files: as ``juniper setup`` writes them, and as they are found in life."""

from __future__ import annotations

import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from juniperd.config import Network
from juniperd.doctor import aws, docker, git, kubectl, network
from juniperd.sandbox.tls import certificates
from juniperd.setup import aws as setup_aws
from juniperd.setup import git as setup_git
from juniperd.setup.aws import Profile
from tests.requirements import require_peer

from .laptops import TOML, answers, laptop, lines, look, row

AWS = {"kind": "aws", "relying_party": "aws-staging"}
HOST = "registry.example.com"
IMAGES = {"kind": "registry", "relying_party": "images", "host": HOST}
CODE = {"kind": "git", "relying_party": "code", "host": "gitlab.example.com"}
CLUSTER = {"kind": "kubernetes", "relying_party": "staging-eu"}


# --- aws --------------------------------------------------------------------------------------------------------------


def profiles(home: Path, *names: str, helper: str = "") -> None:
    (home / ".aws").mkdir(exist_ok=True)
    wanted = [Profile(name, name, "eu-west-1") for name in names]
    text = setup_aws.with_profiles("", wanted, Path(helper or home / "bin" / "juniper-aws"))
    (home / ".aws" / "config").write_text(text)


async def test_profiles_that_set_up_wrote_are_well(tmp_path: Path) -> None:
    profiles(tmp_path, "reader", "writer")
    said = answers(row("reader", AWS), row("writer", AWS), row("refused", AWS, held=False))
    (found,) = await look(aws.checks, laptop(tmp_path, said))
    assert str(found) == f"ok   aws: 2 profiles of ours in {tmp_path / '.aws/config'}"


async def test_profiles_behind_the_catalogue_are_told(tmp_path: Path) -> None:
    profiles(tmp_path, "reader", "gone")
    found = await look(aws.checks, laptop(tmp_path, answers(row("reader", AWS), row("writer", AWS))))
    assert lines(found) == [
        "fix  aws: no profile for writer, which you hold; run: juniper setup aws",
        "fix  aws: the issuer knows no scope for your profiles gone; run: juniper setup aws",
    ]


async def test_without_any_profile_it_is_a_note_and_without_a_catalogue_nothing(tmp_path: Path) -> None:
    (found,) = await look(aws.checks, laptop(tmp_path, answers(row("reader", AWS))))
    assert found.level == "note"
    assert await look(aws.checks, laptop(tmp_path)) == []


async def test_a_profile_whose_program_is_gone_is_told_once(tmp_path: Path) -> None:
    profiles(tmp_path, "reader", "writer", helper="/nonexistent/juniper-aws")
    (fix,) = lines(await look(aws.checks, laptop(tmp_path, answers(row("reader", AWS), row("writer", AWS)))))
    assert (
        fix
        == "fix  aws: there is no program /nonexistent/juniper-aws, which profile reader runs; run: juniper setup aws"
    )


async def test_what_wins_over_our_profiles_is_told(tmp_path: Path) -> None:
    profiles(tmp_path, "reader")
    (tmp_path / ".aws" / "credentials").write_text("[reader]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n")
    found = await look(
        aws.checks, laptop(tmp_path, answers(row("reader", AWS)), AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE")
    )
    first, second = lines(found)
    assert first.startswith("fix  aws: AWS_ACCESS_KEY_ID is set and wins over AWS_PROFILE; unset it")
    assert second.endswith("wins over the profile; rename that section")
    assert "IOSFODNN" not in first + second


async def test_a_file_that_is_no_ini_is_told(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("what is this\n")
    (fix,) = lines(await look(aws.checks, laptop(tmp_path)))
    assert "cannot be read as INI" in fix


# --- docker -----------------------------------------------------------------------------------------------------------


def docker_file(home: Path, **keys: object) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker" / "config.json").write_text(json.dumps(keys))


async def test_a_registry_that_asks_us_is_well(tmp_path: Path) -> None:
    docker_file(tmp_path, credHelpers={HOST: "juniper"})
    (found,) = await look(docker.checks, laptop(tmp_path, answers(row("images", IMAGES))))
    assert found.level == "ok"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"credHelpers": {HOST: "juniper"}, "auths": {HOST: {"auth": "c2VjcmV0"}}}, f"fix  docker: {HOST} has a login in the file, which nothing reads now; run: docker logout {HOST}"),
        ({"credHelpers": {"other.example.com": "juniper"}}, f"does not ask us for {HOST}; run: juniper setup docker"),
        ({"credHelpers": {HOST: "desktop"}}, "remove that line, then run: juniper setup docker"),
    ],
)  # fmt: skip
async def test_what_keeps_docker_from_asking_us_is_told(tmp_path: Path, keys: dict[str, object], line: str) -> None:
    docker_file(tmp_path, **keys)
    found = await look(docker.checks, laptop(tmp_path, answers(row("images", IMAGES))))
    assert any(fix.endswith(line) for fix in lines(found)), found
    assert "c2VjcmV0" not in str(found)


async def test_docker_without_our_lines_is_a_note_and_a_broken_file_is_told(tmp_path: Path) -> None:
    said = answers(row("images", IMAGES))
    (found,) = await look(docker.checks, laptop(tmp_path, said))
    assert found.level == "note"
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text("[")
    (found,) = await look(docker.checks, laptop(tmp_path, said))
    assert found.level == "fix"


# --- git --------------------------------------------------------------------------------------------------------------


async def git_says(home: Path, text: str) -> list[str]:
    found = shutil.which("git")
    if found is None:
        require_peer("git", "the doctor asks the real one")
    (home / ".gitconfig").write_text(text)
    at = laptop(home, answers(row("source", CODE)), PATH=str(Path(found).parent), HOME=str(home))
    return [str(one) for one in await look(git.checks, at)]


async def test_git_as_set_up_wrote_it_is_well(tmp_path: Path) -> None:
    text = setup_git.with_hosts("", {CODE["host"]: ["shop/billing"]}, tmp_path / "bin" / "git-credential-juniper")
    assert await git_says(tmp_path, text) == ["ok   git: asks us for https://gitlab.example.com/shop/billing.git"]


async def test_git_s_own_reading_tells_who_answers(tmp_path: Path) -> None:
    ours = setup_git.with_hosts("", {CODE["host"]: ["shop/billing"]}, tmp_path / "bin" / "git-credential-juniper")
    (without,) = await git_says(tmp_path, "")
    assert without.startswith("note git: no helper of ours answers")
    (flat,) = await git_says(tmp_path, ours.replace("useHttpPath = true", "useHttpPath = false"))
    assert "useHttpPath is not true" in flat
    (gone,) = await git_says(tmp_path, ours.replace("/bin/git-credential", "/nowhere/git-credential"))
    assert gone.endswith("run: juniper setup git")
    behind = '[credential "https://gitlab.example.com/shop/billing.git"]\n\thelper = store\n'
    (other,) = await git_says(tmp_path, ours + behind)
    assert other.startswith("note git: store answers")
    (broken,) = await git_says(tmp_path, "[credential\n")
    assert broken.startswith("fix  git: it cannot read its configuration")


# --- kubectl ----------------------------------------------------------------------------------------------------------


async def test_a_kubeconfig_that_is_not_in_kubeconfig_is_told(tmp_path: Path) -> None:
    program = shutil.which("kubectl")
    if program is None:
        require_peer("kubectl", "the doctor asks the real one")
    said, path = answers(row("debugger", CLUSTER)), str(Path(program).parent)
    theirs = str(tmp_path / "theirs")
    (found,) = await look(kubectl.settings, laptop(tmp_path, said, PATH=path, HOME=str(tmp_path), KUBECONFIG=theirs))
    assert found.level == "note"
    (tmp_path / "kubeconfig").write_text("{}")
    (fix,) = lines(
        await look(kubectl.settings, laptop(tmp_path, said, PATH=path, HOME=str(tmp_path), KUBECONFIG=theirs))
    )
    assert f"KUBECONFIG does not name {tmp_path / 'kubeconfig'}; run: export KUBECONFIG=" in fix
    (found,) = await look(kubectl.settings, laptop(tmp_path, said))
    assert str(found) == "note kubectl: none is in PATH"


# --- network ----------------------------------------------------------------------------------------------------------


def with_ca(path: Path) -> str:
    return f'{TOML}[network]\nca_file = "{path}"\n'


async def test_a_ca_file_that_can_be_read_is_well(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(certificates().ca)
    (found,) = await look(network.checks, laptop(tmp_path, toml=with_ca(tmp_path / "ca.pem")))
    assert str(found) == f"ok   network: without a proxy, with CAs of {tmp_path / 'ca.pem'}"


@pytest.mark.parametrize(
    ("text", "words"), [(None, "cannot be read"), ("no certificate", "is no file of certificates")]
)
async def test_a_ca_file_of_no_use_is_told(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    (fix,) = lines(await look(network.checks, laptop(tmp_path, toml=with_ca(tmp_path / "ca.pem"))))
    assert (
        fix
        == f"fix  network: the CA file {tmp_path / 'ca.pem'} {words}; mend [network] ca_file, then run: juniper down; juniper up"
    )


def test_a_ca_that_has_ended_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(certificates(now=datetime.now(UTC) - timedelta(days=60)).ca)
    (found,) = network.authorities(tmp_path / "ca.pem", now=time.time())
    assert "has expired" in found.text


def test_a_shell_that_goes_another_way_is_a_note_without_its_password() -> None:
    shell = {"HTTPS_PROXY": "http://me:hunter2@proxy.example.com:3128", "NO_PROXY": "x", "SSL_CERT_FILE": "/etc/ca.pem"}
    found = list(network.beside(Network(), shell))
    assert [one.level for one in found] == ["note", "note"]
    assert "proxy.example.com:3128" in found[0].text
    assert "hunter2" not in str(found)
    same = Network(proxy=shell["HTTPS_PROXY"], no_proxy=("x",), ca_file=Path("/etc/ca.pem"))
    assert list(network.beside(same, shell)) == []
    assert (
        "NO_PROXY" in next(network.beside(Network(proxy=shell["HTTPS_PROXY"], ca_file=Path("/etc/ca.pem")), shell)).text
    )
