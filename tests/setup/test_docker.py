"""Docker's ``config.json``: our lines in it, and every byte of theirs as it was."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd.cli import setup_docker, setup_plan, setup_tools
from juniperd.cli.setup_plan import Wish
from juniperd.errors import ConfigError, JuniperError
from juniperd.protocols.docker import HELPER
from juniperd.setup import docker
from tests.requirements import require_peer

from .conftest import TOML, Offering
from .test_issuer import run as verb

pytestmark = pytest.mark.as_user

HOST, OTHER = "registry.example.com", "registry.example.com:5050"
PATH = Path("/home/x/.docker/config.json")
AT_HOST = {"kind": "registry", "host": HOST}
AT_OTHER = {"kind": "registry", "host": OTHER}
THEIRS = '{\n\t"auths": {\n\t\t"ghcr.io": {\n\t\t\t"auth": "c2VjcmV0"\n\t\t}\n\t},\n\t"detachKeys": "ctrl-\\u0026"\n}'

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.text(max_size=8).filter(lambda key: key != docker.KEY)
documents = st.dictionaries(keys, values, max_size=5)
indents = st.sampled_from([None, "\t", "  ", "    ", ""])


def edited(text: str, *hosts: str) -> str:
    return docker.read(PATH, text).with_helpers(hosts)


def test_our_lines_stand_as_docker_would_write_them() -> None:
    assert edited("", HOST, OTHER) == (
        '{\n\t"credHelpers": {\n\t\t"registry.example.com": "juniper",\n\t\t"registry.example.com:5050": "juniper"\n\t}\n}\n'
    )
    assert edited(THEIRS, HOST) == THEIRS[:-2] + ',\n\t"credHelpers": {\n\t\t"registry.example.com": "juniper"\n\t}\n}'


@given(documents, indents, st.booleans(), st.sampled_from(["", "\n", " \n\n"]))
def test_undo_gives_back_every_byte(theirs: dict[str, object], indent: str | None, ascii_only: bool, end: str) -> None:
    text = json.dumps(theirs, indent=indent, ensure_ascii=ascii_only) + end
    ours = edited(text, HOST)
    assert json.loads(ours) == {**theirs, "credHelpers": {HOST: "juniper"}}
    assert list(json.loads(ours)) == [*theirs, "credHelpers"]
    assert edited(ours, HOST) == ours
    assert edited(ours) == text


@given(documents, indents, st.integers(0, 5))
def test_a_list_that_stands_anywhere_is_changed_where_it_stands(
    theirs: dict[str, object], indent: str | None, at: int
) -> None:
    rows = list(theirs.items())
    rows.insert(at, ("credHelpers", {"ghcr.io": "gh", HOST: "juniper", "old.example.com": "juniper"}))
    text = json.dumps(dict(rows), indent=indent)
    ours = edited(text, HOST, OTHER)
    wanted = dict(rows) | {"credHelpers": {"ghcr.io": "gh", HOST: "juniper", OTHER: "juniper"}}
    assert (json.loads(ours), list(json.loads(ours))) == (wanted, list(wanted))
    assert json.loads(edited(ours)) == dict(rows) | {"credHelpers": {"ghcr.io": "gh"}}
    rows[min(at, len(rows) - 1)] = ("credHelpers", {HOST: "juniper"})
    assert json.loads(edited(json.dumps(dict(rows), indent=indent))) == theirs


@pytest.mark.parametrize("text", ["{}", "{ }\n", "{\n}\n", "", " \n"])
def test_a_file_without_keys_gets_one(text: str) -> None:
    assert json.loads(edited(text, HOST)) == {"credHelpers": {HOST: "juniper"}}
    assert json.loads(edited(edited(text, HOST))) == {}


@pytest.mark.parametrize("text", ['{"credHelpers": {}}', '{"credHelpers": null}'])
def test_an_empty_list_is_as_good_as_none(text: str) -> None:
    assert json.loads(edited(text, HOST)) == {"credHelpers": {HOST: "juniper"}}
    assert edited(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '"x"',
        "7",
        "null",
        "{",
        "{'a': 1}",
        '{"a": 1,}',
        '{"a": 1} {}',
        "\ufeff{}",
        '{"credHelpers": []}',
        '{"credHelpers": "juniper"}',
        '{"credHelpers": {"a": 7}}',
        '{"credHelpers": {}, "credHelpers": {}}',
        '{"a": ' + "[" * 50_000 + "]" * 50_000 + "}",
    ],
)
def test_a_file_that_docker_would_not_read_is_left_to_the_person(text: str) -> None:
    with pytest.raises(ConfigError, match=r'mend it, or add by hand: "credHelpers": \{"HOST": "juniper"\}'):
        docker.read(PATH, text)


def shadows(text: str, **environ: str) -> list[str]:
    return docker.shadows(docker.read(PATH, text), [HOST, OTHER], environ, Path("/opt/juniper/bin") / HELPER)


def test_what_keeps_docker_from_asking_us_is_said_with_its_cure(tmp_path: Path) -> None:
    helper = tmp_path / HELPER
    helper.write_text("#!/bin/sh\n")
    helper.chmod(0o755)
    reached = {"PATH": str(tmp_path)}
    assert shadows(THEIRS, **reached) == []
    (one,) = shadows(f'{{"credHelpers": {{"{HOST}": "ecr-login"}}}}', **reached)
    assert "is left to docker-credential-ecr-login" in one
    assert one.endswith("remove that line, then run: juniper setup docker")
    (one,) = shadows(f'{{"auths": {{"https://{HOST}/v1/": {{"auth": "x"}}, "<x>": {{"auth": "x"}}}}}}', **reached)
    assert one == f"{HOST} has a login in the file, which nothing reads now; run: docker logout {HOST}"
    assert shadows(f'{{"auths": {{"{HOST}": {{}}}}}}', **reached) == []
    assert shadows('{"auths": []}', **reached) == []
    (one,) = shadows("", DOCKER_AUTH_CONFIG="{}", **reached)
    assert one.endswith("wins over credHelpers; unset it")
    (one,) = shadows("", PATH=str(tmp_path / "elsewhere"))
    assert one.endswith("add /opt/juniper/bin to PATH")


def test_where_docker_looks() -> None:
    home = Path("/home/x")
    assert docker.config_file({}, home) == home / ".docker/config.json"
    assert docker.config_file({"DOCKER_CONFIG": "/x"}, home) == Path("/x/config.json")


def test_real_skopeo_asks_our_helper_by_what_is_written(tmp_path: Path) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        require_peer("skopeo", "only a client knows whether it reads Docker's file")
    helper = tmp_path / "bin" / HELPER
    helper.parent.mkdir()
    helper.write_text(
        f'#!/bin/sh\necho "$1 $(cat)" > {tmp_path}/heard\necho "the reason; run: juniper login"\nexit 1\n'
    )
    helper.chmod(0o755)
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(edited(THEIRS, "127.0.0.1:1"))
    env = {"HOME": str(tmp_path), "PATH": f"{helper.parent}:{os.environ['PATH']}", "XDG_RUNTIME_DIR": str(tmp_path)}
    command = [skopeo, "inspect", "docker://127.0.0.1:1/shop/billing:1"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (tmp_path / "heard").read_text() == "get 127.0.0.1:1\n"
    assert (done.returncode, "the reason; run: juniper login" in done.stderr) == (1, True)


# --- the verb ---------------------------------------------------------------------------------------------------------


def docker_verb(*, diff: bool = False, undo: bool = False, project: str | None = None, host: str | None = None) -> int:
    return setup_plan.run(setup_docker, Wish(undo=undo, project=project, host=host), diff=diff)


def test_both_files_are_shown_written_once_and_given_back(
    home: Path, offer: Offering, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = offer(team=[("shop/billing", AT_HOST), ("shop/tax", AT_HOST)])
    path, toml = home / ".docker/config.json", home / "config/juniper.toml"
    path.parent.mkdir()
    path.write_text(THEIRS)
    assert docker_verb(diff=True, project="shop/tax") == 0
    out = capsys.readouterr().out
    assert f'+\t\t"{HOST}": "juniper"\n' in out
    assert f'+[issuer.team.registry."{HOST}"]\n+project = "shop/tax"\n' in out
    assert (path.read_text(), toml.read_text(), asked) == (THEIRS, TOML, ["catalogue"])
    assert docker_verb(project="shop/tax") == 0
    assert json.loads(path.read_text())["credHelpers"] == {HOST: "juniper"}
    assert asked[-1] == "hosts"
    assert capsys.readouterr().out.endswith(f"{HOST} means shop/tax\n")
    written = path.read_text(), toml.read_text()
    assert docker_verb() == 0
    assert (path.read_text(), toml.read_text()) == written
    assert capsys.readouterr().out.count("nothing to change") == 2
    assert docker_verb(undo=True) == 0
    assert (path.read_text(), toml.read_text(), asked[-1]) == (THEIRS, TOML, "hosts")
    assert docker_verb(undo=True) == 0


def test_a_password_of_theirs_is_never_shown(home: Path, offer: Offering, capsys: pytest.CaptureFixture[str]) -> None:
    offer(team=[("shop/billing", AT_HOST)])
    (home / ".docker").mkdir()
    for text in (THEIRS, json.dumps(json.loads(THEIRS))):
        (home / ".docker/config.json").write_text(text)
        docker_verb()
        docker_verb(undo=True)
    said = capsys.readouterr()
    assert "c2VjcmV0" not in said.out + said.err


def test_a_file_that_was_not_there_is_private(home: Path, offer: Offering, capsys: pytest.CaptureFixture[str]) -> None:
    offer(team=[("shop/billing", AT_HOST), ("shop/tax", AT_HOST), ("shop/tax", AT_OTHER)])
    assert docker_verb() == 0
    path = home / ".docker/config.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["credHelpers"] == {HOST: "juniper", OTHER: "juniper"}
    assert capsys.readouterr().out.splitlines()[-4:] == [
        f"{HOST} means no project yet; you hold shop/billing, shop/tax",
        f"next: juniper setup docker --project GROUP/PROJECT --host {HOST}",
        f"{OTHER} means no project yet; you hold shop/tax",
        f"next: juniper setup docker --project shop/tax --host {OTHER}",
    ]


def test_the_only_project_at_ecr_is_the_one_that_is_meant(
    home: Path, offer: Offering, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr = {**AT_HOST, "provider": "ecr"}
    offer(team=[("shop/billing", ecr), ("shop/billing", ecr)])
    assert docker_verb() == 0
    assert "means no project yet" not in capsys.readouterr().out
    offer(team=[("shop/billing", ecr), ("shop/tax", ecr)])
    assert docker_verb() == 0
    assert f"next: juniper setup docker --project GROUP/PROJECT --host {HOST}" in capsys.readouterr().out
    assert (home / ".docker/config.json").exists()


def test_undo_before_anything_was_set_up_makes_no_file(home: Path) -> None:
    assert docker_verb(undo=True) == 0
    assert not (home / ".docker").exists()


def test_another_helper_s_host_stays_its_own(home: Path, offer: Offering, capsys: pytest.CaptureFixture[str]) -> None:
    offer(team=[("shop/billing", AT_HOST), ("shop/billing", AT_OTHER)])
    path = home / ".docker/config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"credHelpers": {HOST: "gitlabci"}}))
    assert docker_verb() == 0
    assert json.loads(path.read_text())["credHelpers"] == {HOST: "gitlabci", OTHER: "juniper"}
    assert f'registry."{HOST}"' not in (home / "config/juniper.toml").read_text()
    assert "is left to docker-credential-gitlabci" in capsys.readouterr().err


def test_a_recorded_project_that_is_held_no_more_is_said(
    home: Path, offer: Offering, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(team=[("shop/billing", AT_HOST)])
    toml = home / "config/juniper.toml"
    toml.write_text(f'{TOML}\n[issuer.team.registry."{HOST}"]\nproject = "shop/gone"\n')
    assert docker_verb() == 0
    assert (
        "shop/gone, which is none that you hold; run: juniper setup docker --project shop/billing --host"
        in capsys.readouterr().err
    )
    assert "shop/gone" in toml.read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["docker", "--host", HOST], "add: --project GROUP/PROJECT"),
        (["docker", "--undo", "--project", "a/b"], "leave --project away"),
        (["docker", "--project", "shop/none"], "name one of: shop/billing"),
        (["aws", "--project", "shop/billing"], "run: juniper setup docker --project GROUP/PROJECT"),
        (["git", "--host", HOST], "run: juniper setup docker --project GROUP/PROJECT"),
    ],
)
def test_what_cannot_be_meant_is_refused(home: Path, offer: Offering, words: list[str], says: str) -> None:
    offer(team=[("shop/billing", AT_HOST)])
    with pytest.raises(JuniperError) as caught:
        verb(*words)
    assert says in str(caught.value)
    assert not (home / ".docker").exists()


@pytest.mark.usefixtures("home")
def test_who_holds_nothing_there_is_told(offer: Offering) -> None:
    offer(team=[("shop/billing", {"kind": "aws"})])
    with pytest.raises(ConfigError, match="you hold no scope at a registry; run: juniper scopes"):
        docker_verb()


def test_every_tool_of_the_help_is_one() -> None:
    assert list(setup_tools.TOOLS) == ["aws", "gcloud", "kubectl", "docker", "git", "unit", "completion"]
