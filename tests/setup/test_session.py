"""The files of a debugging session: what an issuer says stands in them as names, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from juniperd.errors import ConfigError, SessionOver
from juniperd.setup import session

BIN = Path("/opt/juniper/bin")
HOST = "gitlab.example.com"


def row(kind: str, **said: object) -> dict[str, object]:
    target = {"kind": kind, "host": HOST, **said}
    return {"name": "billing-source-reader", "project": said.pop("project", "shop/billing"), "targets": [target]}


def held(*rows: dict[str, object]) -> session.Held:
    return session.held(rows, ["billing-source-reader"], issuer="", sandbox=False)


@pytest.mark.parametrize("kind", ["git", "registry"])
@pytest.mark.parametrize(
    "said",
    [
        {"host": f'{HOST}"]\n[core]\n\tsshCommand = touch /tmp/taken\n[x "'},
        {"host": ""},
        {"project": 'shop/billing"]\n\thelper = !touch /tmp/taken\n[x "'},
        {"project": "shop/.."},
    ],
)
def test_a_host_or_a_project_that_is_none_is_written_nowhere(kind: str, said: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="where a host or project should be"):
        held(row(kind, **said))


def test_hosts_and_projects_are_where_tools_look_for_them() -> None:
    made = session.files(held(row("git"), row("registry")), Path("/d"), BIN)
    assert f'[credential "https://{HOST}/shop/billing.git"]' in made["git/config"]
    assert f'"{HOST}": "juniper"' in made["docker/config.json"]


@pytest.mark.parametrize("made", [{"ends": "0\n"}, {"aws/config": ""}])
def test_a_folder_that_went_with_its_session_is_not_made_again(made: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(SessionOver):
        session.write(tmp_path / "session-0123456789ab.d", made)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_which_something_lies_in_the_way_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "aws").write_text("")
    with pytest.raises(ConfigError, match="File exists"):
        session.write(tmp_path, {"aws/config": ""})


@pytest.mark.parametrize("said", ["", "x", "-1", "1" * 5000])
def test_a_count_of_git_s_that_is_none_is_begun_anew(said: str) -> None:
    environ = session.environment(Path("/d"), "", {"GIT_CONFIG_COUNT": said}, BIN)
    assert (environ["GIT_CONFIG_COUNT"], environ["GIT_CONFIG_VALUE_0"]) == ("1", "/d/git/config")


def test_a_variable_that_is_no_text_is_written_as_its_bytes(tmp_path: Path) -> None:
    session.write(tmp_path, {"bashrc": "export PATH=/bin:/\udcff\n"})
    assert (tmp_path / "bashrc").read_bytes() == b"export PATH=/bin:/\xff\n"
