"""``juniper setup URL``, its undo and ``juniper uninstall`` in a company with a person signed in."""

from __future__ import annotations

import os
import pty
import re
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .company import PATIENCE, Company, installed

TOOLS = "aws,kubectl,docker,git,completion"

pytestmark = pytest.mark.e2e


@pytest.fixture
def desk(shop: Company, tmp_path: Path) -> Company:
    """The developer's laptop with files of its own: nobody has set up any tool there."""
    toml = Path(shop.env["JUNIPER_CONFIG"]).read_text()
    bare = re.sub(r"^\[issuer\.sandbox\.\w+\..*\n(project.*\n)?\n?", "", toml, flags=re.MULTILINE)
    folder = Path(shop.env["JUNIPER_CONFIG"]).parent
    (tmp_path / "config").mkdir()
    (tmp_path / "config/juniper.toml").write_text(bare.replace('"ca.pem"', f'"{folder / "ca.pem"}"'))
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = A")
    return shop.under(
        HOME=str(tmp_path),
        SHELL="/bin/bash",
        JUNIPER_CONFIG=str(tmp_path / "config/juniper.toml"),
        AWS_CONFIG_FILE=str(tmp_path / "aws"),
        DOCKER_CONFIG=str(tmp_path / "docker"),
        KUBECONFIG=str(tmp_path / "none"),
        XDG_CONFIG_HOME=str(tmp_path / "config"),
        XDG_DATA_HOME=str(tmp_path / "data"),
        XDG_STATE_HOME=str(tmp_path / "state"),
    )


@pytest.fixture
def ended(desk: Company, shop: Company) -> Iterator[Company]:
    """The same, for what ends the agent that all tests share."""
    yield desk
    shop.juniper("up").good()


def files_of(desk: Company) -> dict[str, bytes]:
    home = Path(desk.changed["HOME"])
    found = (path for path in home.rglob("*") if path.is_file() and not path.name.endswith(".before-juniper"))
    return {str(path.relative_to(home)): path.read_bytes() for path in found}


def words(desk: Company, *more: str) -> tuple[str, ...]:
    url = re.search(r'url = "(.*)"', Path(desk.changed["JUNIPER_CONFIG"]).read_text())
    assert url is not None
    host = url[1].removeprefix("https://")
    return ("setup", url[1], "--issuer-host", host, *more)


def test_one_command_writes_everything_a_second_nothing_and_undo_takes_it_back(desk: Company) -> None:
    before = files_of(desk)
    shown = desk.juniper(*words(desk, "--diff", "--only", TOOLS))
    assert (shown.status, files_of(desk)) == (0, before)
    assert all(f"\n{tool}\n---" in shown.stdout for tool in TOOLS.split(","))
    done = desk.juniper(*words(desk, "--yes", "--only", TOOLS))
    assert done.status == 0, done
    assert "written      aws, kubectl, docker, git, completion\nas it was    juniper.toml\n" in done.stdout
    set_up = files_of(desk)
    assert b"credential_process" in set_up["aws"]
    again = desk.juniper(*words(desk, "--yes", "--only", TOOLS))
    assert again.status == 0, again
    assert "\nnothing to change\nas it was    juniper.toml, aws, kubectl, docker, git, completion\n" in again.stdout
    assert files_of(desk) == set_up
    desk.juniper(*words(desk, "--undo", "--only", TOOLS)).good()
    assert files_of(desk) == before


def test_undo_without_a_choice_takes_the_issuer_too(desk: Company) -> None:
    desk.juniper(*words(desk, "--yes", "--only", "git")).good()
    out = desk.juniper(*words(desk, "--undo")).good()
    assert "taken out    git, juniper.toml\n" in out
    assert out.endswith("next: juniper logout --issuer sandbox; juniper down\n")
    left = files_of(desk)
    assert left[".gitconfig"] == b"[user]\n\tname = A"
    assert b"issuer" not in left["config/juniper.toml"]


def test_each_tool_is_asked_for_on_a_terminal(desk: Company) -> None:
    said = on_a_terminal(desk, words(desk, "--only", "docker,git,completion"), ["n", "yes", ""])
    assert "written      git\n" in said
    assert "passed over  docker (you said no), completion (you said no)\n" in said
    assert sorted(files_of(desk)) == [".gitconfig", "config/juniper.toml"]


def test_who_is_not_signed_in_is_offered_to_and_a_no_costs_the_rest_nothing(ended: Company, shop: Company) -> None:
    ended.juniper("logout").good()
    said = on_a_terminal(ended, words(ended, "--only", "git,completion"), ["n", "y"])
    assert "written      completion\n" in said
    assert "passed over  git (needs a sign-in)\n" in said
    said = on_a_terminal(ended, words(ended, "--only", "git"), ["y", "y"])
    assert "signed in as developer (user 7) until " in said
    assert said.endswith("written      git\nas it was    juniper.toml\nnext: juniper status\n")
    assert shop.signed_in() == "developer"


def on_a_terminal(desk: Company, asked: tuple[str, ...], answers: list[str]) -> str:
    """What ``juniper`` says to somebody who answers like that; it must not fail."""
    terminal, ours = pty.openpty()
    command = [installed("juniper"), *asked]
    pid = os.posix_spawn(
        command[0],
        command,
        {**desk.env, **desk.changed},
        setsid=True,
        file_actions=[(os.POSIX_SPAWN_DUP2, ours, stream) for stream in range(3)],
    )
    os.close(ours)
    said = _answered(terminal, answers)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said
    return said


def _answered(terminal: int, answers: list[str]) -> str:
    """Everything that is said, each question met with the next answer."""
    said, asked, deadline = "", 0, time.monotonic() + PATIENCE
    while True:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, said
        try:
            data = os.read(terminal, 65536)
        except OSError:
            os.close(terminal)
            return said
        said += data.decode().replace("\r", "")
        while said.count("[y/N]") > asked:
            os.write(terminal, answers[asked].encode() + b"\n")
            asked += 1


def test_without_a_terminal_or_a_yes_nothing_is_written(desk: Company) -> None:
    before = files_of(desk)
    done = desk.juniper(*words(desk, "--only", "git"))
    assert (done.status, files_of(desk)) == (2, before)
    assert "nobody is here to say yes; add: --yes --issuer-host" in done.stderr


def test_without_a_sign_in_the_rest_is_set_up_and_the_next_command_said(ended: Company) -> None:
    ended.juniper("logout").good()
    named = ended.juniper(*words(ended, "--yes", "--only", "aws,completion"))
    assert named.status == 1
    assert named.stdout.endswith(
        f"next: juniper login, then: juniper {' '.join(_in_order(words(ended)))} --only aws,completion\n"
    )
    assert "written      completion\n" in named.stdout
    assert "passed over  aws (needs a sign-in)\n" in named.stdout
    every = ended.juniper(*words(ended, "--yes"))
    assert (every.status, "next: juniper login, then: " in every.stdout) == (0, True)


def _in_order(given: tuple[str, ...]) -> tuple[str, ...]:
    return (*given[:2], "--yes", *given[2:])


def test_uninstall_takes_everything_out_ends_the_sign_in_and_names_what_is_left(ended: Company, shop: Company) -> None:
    before = files_of(ended)
    ended.juniper(*words(ended, "--yes", "--only", TOOLS)).good()
    state = Path(ended.changed["XDG_STATE_HOME"], "juniper")
    state.mkdir(parents=True)
    (state / "old").write_text("x")
    set_up = files_of(ended)
    assert "\ngit\n" in ended.juniper("uninstall", "--diff").good()
    refused = ended.juniper("uninstall")
    assert (refused.status, refused.line) == (2, "juniper: nobody is here to say yes; add: --yes")
    assert (files_of(ended), shop.signed_in()) == (set_up, "developer")
    done = ended.juniper("uninstall", "--yes")
    assert done.status == 0, done
    assert "signed out of sandbox\n" in done.stdout
    assert "agent: stopped\n" in done.stdout
    assert re.search(r"\nnext: .*uninstall juniperd\n", done.stdout)
    assert files_of(ended) == {name: text for name, text in before.items() if name != "config/juniper.toml"}
    assert not state.exists()
    kept = re.findall(r"^kept: (.*)$", done.stdout, flags=re.MULTILINE)
    assert ended.changed["JUNIPER_CONFIG"] + ".before-juniper" in kept
    assert all(Path(path).is_file() for path in kept)
    shop.juniper("up").good()
    assert shop.signed_in() is None
    once_more = ended.juniper("uninstall", "--yes")
    assert once_more.status == 0, once_more


def test_uninstall_ends_a_sign_in_whose_issuer_was_taken_out_before(ended: Company, shop: Company) -> None:
    ended.juniper(*words(ended, "--undo")).good()
    done = ended.juniper("uninstall", "--yes")
    assert done.status == 0, done
    assert "signed out of sandbox\n" in done.stdout
    shop.juniper("up").good()
    assert shop.signed_in() is None


def test_uninstall_says_what_could_not_be_revoked(ended: Company, healed: Company) -> None:
    healed.drill("idp", "break", "503")
    done = ended.juniper("uninstall", "--yes")
    assert done.status == 1
    assert re.search(r"^left: sandbox: the refresh token was not revoked: ", done.stdout, flags=re.MULTILINE), done
    assert not Path(ended.changed["JUNIPER_CONFIG"]).exists()
