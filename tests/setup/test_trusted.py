"""``/etc/juniper/trusted.toml``: whom a fleet trusts, by a file that nobody else may have written."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from juniperd import config
from juniperd.cli import setup as verb
from juniperd.errors import ConfigError, JuniperError
from juniperd.setup import issuer, trusted
from juniperd.setup.issuer import Found
from juniperd.setup.trusted import Pin

URL, IDP = "https://juniper.example.com", "https://idp.example.com"
ONE = f'version = 1\n\n[[issuer]]\nurl = "{URL}"\nname = "team"\nidp = "{IDP}"\n'


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fleet's file, an issuer that answers for whatever is asked, and nothing else to set up."""

    async def discovered(url: str, *_: object, **__: object) -> Found:
        return Found(url.rstrip("/"), url, IDP, "Team", "device")

    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    monkeypatch.setattr(trusted, "PATH", folder / "trusted.toml")
    monkeypatch.setattr(trusted, "OWNER", os.getuid())
    monkeypatch.setattr(issuer, "discover", discovered)
    monkeypatch.setenv("JUNIPER_CONFIG", str(tmp_path / "juniper.toml"))
    monkeypatch.setenv("JUNIPER_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder / "trusted.toml"


def written(path: Path, text: str, mode: int = 0o644) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    verb.register(parser)
    return verb.run(parser.parse_args([*words, "--only", "unit"]))


def test_where_no_file_is_nothing_is_pinned(fleet: Path) -> None:
    assert not fleet.exists()
    assert trusted.load() is None


@pytest.mark.usefixtures("fleet")
def test_without_pins_an_issuer_must_be_named() -> None:
    with pytest.raises(JuniperError, match="no issuer is named; run: juniper setup https://your-issuer"):
        run()


def test_the_only_pin_needs_no_url_and_no_second_naming(fleet: Path, tmp_path: Path) -> None:
    assert trusted.load(written(fleet, ONE)) == (Pin(URL, "team", IDP),)
    assert run("--yes") == 0
    assert config.load(tmp_path / "juniper.toml").issuers["team"].url == URL


@pytest.mark.parametrize("words", [("--yes",), ("--yes", "--issuer-host", "juniper.example.org"), ("--diff",)])
def test_another_issuer_is_refused_with_those_that_are_meant(
    fleet: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    written(fleet, ONE)
    with pytest.raises(ConfigError, match=rf"is none of the issuers that .* trusts; run: juniper setup {URL}$"):
        run("https://juniper.example.org", *words)
    assert not (tmp_path / "juniper.toml").exists()


def test_another_provider_is_refused(fleet: Path, tmp_path: Path) -> None:
    written(fleet, ONE.replace(IDP, "https://other.example.com"))
    with pytest.raises(ConfigError, match="nothing was written"):
        run("--yes")
    assert not (tmp_path / "juniper.toml").exists()


def test_of_several_one_must_be_named(fleet: Path) -> None:
    written(fleet, ONE + '\n[[issuer]]\nurl = "https://second.example.com"\n')
    with pytest.raises(JuniperError, match=rf"juniper setup {URL}, or: juniper setup https://second"):
        run("--yes")
    assert run("https://second.example.com", "--yes") == 0


def test_an_issuer_from_before_the_pins_is_named(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "juniper.toml").write_text(
        'version = 1\n[issuer.old]\nurl = "https://old.example.com"\nidp = "https://i.example.com"\n'
    )
    written(fleet, ONE)
    assert run("--yes") == 0
    assert "run: juniper setup https://old.example.com --undo" in capsys.readouterr().err
    assert run("https://old.example.com", "--undo") == 0


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_says_nothing(fleet: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match=r"can be written by others than root.*run: sudo chown"):
        trusted.load(written(fleet, ONE, mode))


def test_nor_does_one_in_a_folder_that_others_may_write(fleet: Path) -> None:
    written(fleet, ONE)
    fleet.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="can be written by others"):
        trusted.load()


def test_nor_one_of_another_owner(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusted, "OWNER", os.getuid() + 1)
    with pytest.raises(ConfigError, match="can be written by others"):
        trusted.load(written(fleet, ONE))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            ONE + '\n[[issuer]]\nurl = "http://plain.example.com"\n',
            r":9: 'http://plain.example.com' is not an https URL",
        ),
        (ONE + '\n[[issuer]]\nurl = "https://a.example.com"\nipd = "x"\n', r":10: unknown key 'ipd'"),
        (ONE.replace('"team"', '"a/b"'), r":5: 'a/b' is no name"),
        ("version = 1\n", "no issuer is named"),
        ('version = 1\nissuer = "x"\n', r":2: 'issuer' must be a list of tables"),
        ('version = 1\nissuer = ["x"]\n', r":2: 'issuer' must be a list of tables; write each as \[\[issuer\]\]"),
        ("version = 2\n", "upgrade juniperd"),
        ("version = \n", r":1: "),
    ],
)
def test_a_flaw_is_named_with_its_line(fleet: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        trusted.load(written(fleet, text))
