"""Git's configuration as real ``git`` reads it: who is asked for a host of ours, and by which words."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd.cli import setup_git, setup_plan
from juniperd.cli.setup_plan import Wish
from juniperd.errors import ConfigError
from juniperd.setup import block, files, git

from .conftest import TOML, Offering

pytestmark = pytest.mark.as_user

HOST = "gitlab.example.com"
PROJECTS = ["shop/billing"]
HELPER = Path("/opt/juniper/bin/git-credential-juniper")
AT_HOST = {"kind": "git", "host": HOST}
THEIRS = "# mine\n[user]\n\tname = A\n[credential]\n\thelper = store   ; theirs\n"
LOGIN = "username=juniper-7-developer\npassword=x\n"

lines = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="#<>"), max_size=30)
texts = st.lists(lines, max_size=8).map("\n".join)


def real_git(home: Path, *words: str, stdin: str = "") -> tuple[int, str, str]:
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
        ["git", *words], env=env, cwd=home, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def write_helper(folder: Path, body: str) -> Path:
    folder.mkdir(exist_ok=True)
    helper = folder / "git-credential-juniper"
    helper.write_text(f"#!/bin/sh\necho $1 >> heard\ncat >> heard\n{body}\n")
    helper.chmod(0o755)
    return helper


@pytest.mark.parametrize("host", [HOST, f"{HOST}:8443", "[::1]:8443"])
def test_real_git_asks_us_alone_and_names_the_repository(tmp_path: Path, host: str) -> None:
    helper = write_helper(tmp_path / "my tools", f"printf '{LOGIN}'".replace("\n", "\\n"))
    (tmp_path / ".gitconfig").write_text(git.with_hosts(THEIRS, {HOST: PROJECTS, host: PROJECTS}, helper))
    asked = f"protocol=https\nhost={host}\npath=shop/billing.git\n"
    code, said, _ = real_git(tmp_path, "credential", "fill", stdin=asked + "\n")
    assert (code, said) == (0, asked + LOGIN)
    assert (tmp_path / "heard").read_text().startswith(f"get\n{asked}")
    assert real_git(tmp_path, "credential", "approve", stdin=said + "\n")[0] == 0
    assert not (tmp_path / ".git-credentials").exists()
    assert real_git(tmp_path, "credential", "reject", stdin=said + "\n")[0] == 0
    assert (tmp_path / "heard").read_text().endswith(f"erase\n{asked}{LOGIN}")


def test_other_repositories_of_the_host_stay_with_their_helpers(tmp_path: Path) -> None:
    helper = write_helper(tmp_path / "bin", f"printf '{LOGIN}'".replace("\n", "\\n"))
    (tmp_path / ".gitconfig").write_text(git.with_hosts(THEIRS, {HOST: PROJECTS}, helper))
    (tmp_path / ".git-credentials").write_text(f"https://me:mine@{HOST}/shop/tax.git\n")
    for path, password in (("shop/tax.git", "mine"), ("shop/billing", "x"), ("shop/billing.git/info/lfs", "x")):
        asked = f"protocol=https\nhost={HOST}\npath={path}\n\n"
        code, said, _ = real_git(tmp_path, "credential", "fill", stdin=asked)
        assert (code, f"password={password}\n" in said) == (0, True), path


def test_other_hosts_stay_with_their_helpers(tmp_path: Path) -> None:
    helper = write_helper(tmp_path / "bin", "")
    (tmp_path / ".gitconfig").write_text(git.with_hosts(THEIRS, {HOST: PROJECTS}, helper))
    (tmp_path / ".git-credentials").write_text("https://me:mine@elsewhere.example.com\n")
    asked = "protocol=https\nhost=elsewhere.example.com\n\n"
    code, said, _ = real_git(tmp_path, "credential", "fill", stdin=asked)
    assert (code, "password=mine" in said) == (0, True)
    assert not (tmp_path / "heard").exists()


def test_a_failure_of_ours_is_said_once_and_git_asks_for_no_password(tmp_path: Path) -> None:
    """``quit=1`` with status 1, as the protocol answers: one line of ours, and git's own that it ended."""
    helper = write_helper(tmp_path / "bin", "echo 'nobody is signed in; run: juniper login' >&2; echo quit=1; exit 1")
    (tmp_path / ".gitconfig").write_text(git.with_hosts(THEIRS, {HOST: PROJECTS}, helper))
    code, said, complaint = real_git(tmp_path, "credential", "fill", stdin=f"protocol=https\nhost={HOST}\n\n")
    assert (code, said) == (128, "")
    first, second = complaint.splitlines()
    assert first == "nobody is signed in; run: juniper login"
    assert second.endswith("told us to quit")


@pytest.mark.parametrize("host", [HOST, f"{HOST}:8443"])
def test_the_line_that_is_printed_sends_pushes_to_ssh(tmp_path: Path, host: str) -> None:
    (tmp_path / ".gitconfig").write_text(git.with_hosts(THEIRS, {host: PROJECTS}, HELPER))
    program, *words = shlex.split(git.push_line(host))
    assert program == "git"
    assert real_git(tmp_path, *words)[0] == 0
    assert real_git(tmp_path, "init", "-q", "work")[0] == 0
    assert real_git(tmp_path, "-C", "work", "remote", "add", "origin", f"https://{host}/shop/billing.git")[0] == 0
    _, fetch, _ = real_git(tmp_path, "-C", "work", "remote", "get-url", "origin")
    _, push, _ = real_git(tmp_path, "-C", "work", "remote", "get-url", "--push", "origin")
    assert (fetch, push) == (f"https://{host}/shop/billing.git\n", f"git@{HOST}:shop/billing.git\n")
    assert git.without_hosts((tmp_path / ".gitconfig").read_text()).startswith(THEIRS)


def test_the_line_is_one_word_a_shell_leaves_alone() -> None:
    assert shlex.split(git.push_line("[::1]:8443"))[3:] == ["url.git@[::1]:.pushInsteadOf", "https://[::1]:8443/"]


@given(texts, st.booleans())
def test_undo_gives_back_every_line(theirs: str, newline: bool) -> None:
    text = theirs + ("\n" if newline and theirs else "")
    ours = git.with_hosts(text, {HOST: PROJECTS}, HELPER)
    assert git.without_hosts(ours).rstrip("\n") == text.rstrip("\n")
    assert git.with_hosts(ours, {HOST: PROJECTS}, HELPER) == ours
    assert git.with_hosts(ours, {}, HELPER) == git.without_hosts(ours)


@pytest.mark.parametrize("lost", [block.begin(git.COMMAND), block.END])
def test_a_block_without_its_first_or_last_line_is_left_to_the_person(lost: str) -> None:
    broken = git.with_hosts(THEIRS, {HOST: PROJECTS}, HELPER).replace(lost, "")
    with pytest.raises(ConfigError, match="by hand, then run: juniper setup git"):
        git.without_hosts(broken)


@pytest.mark.parametrize(
    "path", ["/opt/$(x)/h", "/opt/a;b/h", "/opt/a\\b/h", '/opt/a"b/h', "/opt/a\nb/h", "/opt/a#b/h"]
)
def test_a_path_with_shell_characters_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="install juniperd below a path of letters"):
        git.with_hosts("", {HOST: PROJECTS}, Path(path))


def test_where_git_looks(tmp_path: Path) -> None:
    assert git.config_file({"GIT_CONFIG_GLOBAL": "/x"}, tmp_path) == Path("/x")
    assert git.config_file({}, tmp_path) == tmp_path / ".gitconfig"
    other = tmp_path / ".config" / "git" / "config"
    other.parent.mkdir(parents=True)
    other.touch()
    assert git.config_file({}, tmp_path) == other
    assert git.config_file({"XDG_CONFIG_HOME": str(tmp_path / "x")}, tmp_path) == tmp_path / ".gitconfig"
    (tmp_path / ".gitconfig").touch()
    assert git.config_file({}, tmp_path) == tmp_path / ".gitconfig"


# --- the verb ---------------------------------------------------------------------------------------------------------


def test_both_files_are_shown_written_once_and_given_back(
    home: Path, offer: Offering, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = offer(team=[("shop/billing", AT_HOST), ("shop/tax", AT_HOST)])
    path, toml = home / ".gitconfig", home / "config/juniper.toml"
    path.write_text(THEIRS)
    assert setup_plan.run(setup_git, Wish(undo=False), diff=True) == 0
    out = capsys.readouterr().out
    assert f'+[credential "https://{HOST}"]\n+\thelper = {HELPER}\n+\tuseHttpPath = true\n' in out
    assert f'+[issuer.team.git."{HOST}"]\n' in out
    assert (path.read_text(), toml.read_text(), asked) == (THEIRS, TOML, ["catalogue"])
    assert setup_plan.run(setup_git, Wish(undo=False), diff=False) == 0
    assert asked[-1] == "hosts"
    *_, aloud, line = capsys.readouterr().out.splitlines()
    assert aloud.startswith("pushing stays with your own key")
    assert line == f"next: {git.push_line(HOST)}"
    written = path.read_text(), toml.read_text()
    assert setup_plan.run(setup_git, Wish(undo=False), diff=False) == 0
    assert (path.read_text(), toml.read_text()) == written
    assert setup_plan.run(setup_git, Wish(undo=True), diff=False) == 0
    assert (path.read_text(), toml.read_text()) == (THEIRS, TOML)
    assert setup_plan.run(setup_git, Wish(undo=True), diff=False) == 0


@pytest.mark.parametrize("text", ["[user\n", '[user]\n\tname = "A\n', "[user]\n\t= A\n"])
def test_a_file_that_git_does_not_read_is_left_as_it_is(home: Path, offer: Offering, text: str) -> None:
    offer(team=[("shop/billing", AT_HOST)])
    (home / ".gitconfig").write_text(text)
    with pytest.raises(ConfigError, match=r"git cannot read .*bad config line .*nothing was written") as caught:
        setup_plan.run(setup_git, Wish(undo=False), diff=False)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in home.iterdir()) == [".gitconfig", "config"]
    assert (home / "config/juniper.toml").read_text() == TOML


def test_without_git_there_is_nothing_to_set_up(home: Path, offer: Offering, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(team=[("shop/billing", AT_HOST)])
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(ConfigError, match="install git, then run: juniper setup git"):
        setup_plan.run(setup_git, Wish(undo=False), diff=False)
    assert setup_plan.run(setup_git, Wish(undo=True), diff=False) == 0
    (home / "git").write_text("no program")
    (home / "git").chmod(0o755)
    with pytest.raises(ConfigError, match="git gave no answer"):
        setup_plan.run(setup_git, Wish(undo=False), diff=False)


@pytest.mark.usefixtures("home")
def test_who_holds_nothing_there_is_told(offer: Offering) -> None:
    offer(team=[("shop/billing", {"kind": "aws"})])
    with pytest.raises(ConfigError, match="you hold no scope at a Git server; run: juniper scopes"):
        setup_plan.run(setup_git, Wish(undo=False), diff=False)


def test_a_configuration_of_ours_that_cannot_be_read_is_said(home: Path) -> None:
    (home / "config/juniper.toml").write_text("version = \n")
    with pytest.raises(ConfigError, match=r"juniper\.toml"):
        setup_plan.run(setup_git, Wish(undo=True), diff=False)
    assert files.read(home / ".gitconfig") == ""
