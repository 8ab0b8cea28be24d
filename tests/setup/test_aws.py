"""Profiles in a file that is the user's: nothing of theirs changes, and undo gives back every byte."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd.errors import ConfigError
from juniperd.setup import aws, block, files
from juniperd.setup.aws import Profile

pytestmark = pytest.mark.as_user

HELPER = Path("/opt/juniper/bin/juniper-aws")
WRITER = Profile("invoice-archive-writer", "invoice-archive-writer", "eu-west-1")
LOCAL = Profile("local", "team/local", "eu-west-1", "http://127.0.0.1:5000")
THEIRS = "# mine\n[default]\nregion = us-east-1   ; keep\n\n[profile old]\nrole_arn=arn:aws:iam::1:role/x\n"

lines = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="#[]<>"), max_size=30)
texts = st.lists(lines, max_size=8).map("\n".join)


def test_a_profile_says_what_the_aws_tools_need() -> None:
    text = aws.with_profiles("", [WRITER, LOCAL], HELPER)
    assert "credential_process = /opt/juniper/bin/juniper-aws --scope invoice-archive-writer\n" in text
    assert "[profile local]\ncredential_process = /opt/juniper/bin/juniper-aws --scope team/local\n" in text
    assert "endpoint_url = http://127.0.0.1:5000\n" in text


def test_their_text_stays_and_the_second_time_changes_nothing() -> None:
    once = aws.with_profiles(THEIRS, [WRITER], HELPER)
    assert once.startswith(THEIRS)
    assert aws.with_profiles(once, [WRITER], HELPER) == once
    assert aws.with_profiles(once, [LOCAL], HELPER).count("[profile") == 2
    assert aws.without_profiles(once) == THEIRS


@given(texts, st.booleans())
def test_undo_gives_back_every_line(theirs: str, newline: bool) -> None:
    text = theirs + ("\n" if newline and theirs else "")
    with_ours = aws.with_profiles(text, [WRITER], HELPER)
    assert aws.without_profiles(with_ours).rstrip("\n") == text.rstrip("\n")
    assert aws.with_profiles(with_ours, [WRITER], HELPER) == with_ours


def test_what_they_write_behind_our_block_stays() -> None:
    text = aws.with_profiles(THEIRS, [WRITER], HELPER) + "[profile later]\nregion = x\n"
    assert aws.without_profiles(text) == THEIRS + "[profile later]\nregion = x\n"


@pytest.mark.parametrize("heading", ["[profile invoice-archive-writer]", "[ profile  'invoice-archive-writer' ]"])
def test_a_profile_of_that_name_is_never_overwritten(heading: str) -> None:
    with pytest.raises(ConfigError, match=r"line 2.*rename it there"):
        aws.with_profiles(f"# x\n{heading}\n", [WRITER], HELPER)


def test_a_block_without_its_end_is_left_to_the_person() -> None:
    broken = aws.with_profiles("", [WRITER], HELPER).replace(block.END, "")
    with pytest.raises(ConfigError, match="by hand"):
        aws.without_profiles(broken)


def test_a_path_with_a_space_is_quoted_and_one_with_shell_characters_refused() -> None:
    assert '= "/opt/my tools/juniper-aws" --scope' in aws.with_profiles("", [WRITER], Path("/opt/my tools/juniper-aws"))
    with pytest.raises(ConfigError, match="cannot read"):
        aws.with_profiles("", [WRITER], Path("/opt/$(x)/juniper-aws"))


@pytest.mark.parametrize(
    ("credentials", "environ", "says"),
    [
        ("[invoice-archive-writer]\naws_access_key_id=x\n", {}, "[invoice-archive-writer]"),
        ("", {"AWS_ACCESS_KEY_ID": "x"}, "AWS_ACCESS_KEY_ID"),
        ("", {"AWS_WEB_IDENTITY_TOKEN_FILE": "/x"}, "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("no section = here\n", {}, "cannot be read as INI"),
    ],
)
def test_each_setting_that_would_win_is_named(credentials: str, environ: dict[str, str], says: str) -> None:
    (warning,) = aws.shadows([WRITER], credentials, environ)
    assert says in warning


def test_nothing_in_the_way_is_nothing_to_say() -> None:
    assert aws.shadows([WRITER], "[default]\n", {}) == []


def test_where_the_aws_tools_look() -> None:
    home = Path("/home/x")
    assert aws.config_file({}, home) == home / ".aws/config"
    assert aws.config_file({"AWS_CONFIG_FILE": "/x"}, home) == Path("/x")
    assert aws.credentials_file({}, home) == home / ".aws/credentials"
    assert aws.credentials_file({"AWS_SHARED_CREDENTIALS_FILE": "/x"}, home) == Path("/x")


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_write_keeps_mode_and_link_and_leaves_the_old_text_beside_it(tmp_path: Path) -> None:
    real, link = tmp_path / "dotfiles" / "config", tmp_path / "config"
    real.parent.mkdir()
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    backup = files.write(link, "old", "new")
    assert backup is not None
    assert (link.is_symlink(), real.read_text(), backup.read_text()) == (True, "new", "old")
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(p.name for p in real.parent.iterdir()) == ["config", "config.before-juniper"]


def test_a_new_file_is_private_and_so_is_its_folder(tmp_path: Path) -> None:
    path = tmp_path / ".aws" / "config"
    assert files.write(path, "", "new") is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_write_that_fails_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match="no space left"):
        files.write(path, "old", "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["config"]


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    """``AWS_CONFIG_FILE=/dev/null`` is how people say "no file"."""
    pipe = tmp_path / "config"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="is not a file"):
        files.write(pipe, "", "new")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_diff_is_what_diff_would_show(tmp_path: Path) -> None:
    change = files.diff(tmp_path / "config", "a\nb\n", "a\nc\n")
    assert "-b\n+c\n" in change
    assert files.diff(tmp_path / "config", "a\n", "a\n") == ""


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read as text"):
        files.read(path)
    assert files.read(tmp_path / "missing") == ""


EVIL = "x\n[default]\ncredential_process = sh -c 'touch owned'\n#"


@pytest.mark.parametrize(
    "profile",
    [
        Profile(EVIL, "a", "eu-west-1"),
        Profile("a", EVIL, "eu-west-1"),
        Profile("a", "a", EVIL),
        Profile("a", "a", "eu-west-1", EVIL),
        Profile("a", "a", "eu-west-1", "https://elsewhere.example.com"),
        Profile("a", "a", "eu-west-1", "http://127.0.0.1.example.com:80"),
        *(Profile("a", scope, "eu-west-1") for scope in ("a; id", "$(id)", "a --issuer b", "`id`", "a|id", "", "A")),
    ],
)
def test_a_catalogue_writes_names_and_never_commands(profile: Profile) -> None:
    with pytest.raises(ConfigError, match="nothing was written") as caught:
        aws.with_profiles(THEIRS, [profile], HELPER)
    assert "\n" not in str(caught.value)
