"""Files as people really have them: given back to the byte with their mode, or left alone with what to add."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from juniperd.cli import setup_issuer, setup_plan, setup_tools
from juniperd.cli.setup_plan import Plan, Wish
from juniperd.config import Network
from juniperd.errors import ConfigError
from juniperd.setup import completion, files, issuer
from juniperd.setup.issuer import Found
from tests.setup.conftest import TOML, Offering

AWS = {"kind": "aws", "region": "eu-west-1"}
REGISTRY = {"kind": "registry", "host": "registry.example.com"}
CODE = {"kind": "git", "host": "gitlab.example.com"}
PATHS = {
    "aws": ".aws/config",
    "docker": ".docker/config.json",
    "git": ".gitconfig",
    "completion": ".local/share/bash-completion/completions/juniper",
}
FOUND = Found("https://new.example.com", "https://new.example.com", "https://idp.example.com", "New", "device")
MANY = "".join(f"[profile team-{n}]\nregion = eu-west-1\n# {n}\n\n" for n in range(2000)).encode()
GOOD = [
    ("aws", b""),
    ("aws", b"\n\n\n"),
    ("aws", b"# only a comment"),
    ("aws", b"\xef\xbb\xbf[default]\nregion = eu-west-1\n"),
    ("aws", b"[default]\r\nregion = eu-west-1\r\n\r\n"),
    ("aws", b"[profile x]\n\tregion\t=\teu-west-1\n  s3 =\n    addressing_style = path"),
    ("aws", b"[profile x]\nregion = a\nregion = b\n[profile x]\nregion = c\n"),
    ("aws", MANY),
    ("docker", b""),
    ("docker", b"{}"),
    ("docker", b"{ }\n"),
    ("docker", b"{\n}\n"),
    ("docker", b'{"auths":{},"credHelpers":{}}'),
    ("docker", b'{"credHelpers":{"a.example.com":"pass"},"auths":{}}'),
    ("docker", b'{\r\n  "credHelpers" : {\r\n      "a.example.com":   "pass",\r\n\t"b.example.com" : "x" }\r\n}'),
    ("docker", b'{\n\t"auths": {\n\t\t"a": {"auth": "eDp5"}\n\t},\n\t"psFormat": "table {{.ID}}\\\\t"\n}'),
    ("git", b""),
    ("git", b"[user]\n\tname = A"),
    ("git", b"\xef\xbb\xbf[user]\n\tname = A\n"),
    ("git", b'; old\n[include]\n\tpath = ~/.more\n[includeIf "gitdir:~/w/"]\n\tpath = w\n'),
    ("git", b"[user]\r\n\tname = A\r\n\tname = B\r\n[user]\r\n\tname = C\r\n"),
    ("git", b'[alias]\n\tx = "!f() { \\\n\t\techo; \\\n\t}; f"\n'),
]
"""A tool that understands the file; we add to it and take that out again."""
BAD = [
    ("aws", b"[default]\n# caf\xe9\n", "cannot be read as text", "credential_process ="),
    ("aws", b"# >>> juniper >>>\n[profile x]\n", "has lost its first or last line", "credential_process ="),
    ("git", b"[user]\n\tname = caf\xe9\n", "cannot be read as text", "useHttpPath = true"),
    ("git", b"[user\n", "git cannot read", "useHttpPath = true"),
    ("docker", b"\xef\xbb\xbf{}", "is no JSON object", '"credHelpers": {"HOST": "juniper"}'),
    ("docker", b'{"auths": {}, "auths": {}}', "is no JSON object", '"credHelpers": {"HOST": "juniper"}'),
    ("docker", b'{// mine\n"auths": {}}', "is no JSON object", '"credHelpers": {"HOST": "juniper"}'),
    ("docker", b'{"credHelpers": {"a": "x", "a": "y"}}', "names a host twice", '"credHelpers": {"HOST": "juniper"}'),
    ("docker", b'{"credHelpers": []}', "is no list of helpers", '"credHelpers": {"HOST": "juniper"}'),
    ("completion", b"# mine\ncomplete juniper\n", "not as juniper wrote it", "move it away"),
]
"""One that is not understood, what is said of it, and what tells the person how to go on."""


@pytest.fixture(autouse=True)
def _desk(home: Path, offer: Offering, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(team=[("shop/billing", AWS), ("shop/billing", REGISTRY), ("shop/billing", CODE)])
    monkeypatch.setenv("SHELL", "/bin/bash")
    monkeypatch.setattr(completion, "packaged", lambda _shell: None)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "XDG_DATA_HOME", "BASH_COMPLETION_USER_DIR"):
        monkeypatch.delenv(name, raising=False)
    (home / "config/juniper.toml").write_text(TOML)


def set_up(tool: str, *, undo: bool = False) -> None:
    assert setup_plan.run(setup_tools.tool(tool), Wish(undo=undo), diff=False) == 0


def placed(home: Path, tool: str, raw: bytes, mode: int = 0o640) -> Path:
    path = home / PATHS[tool]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(("tool", "raw"), GOOD)
def test_set_up_and_undo_give_back_every_byte(home: Path, tool: str, raw: bytes) -> None:
    path = placed(home, tool, raw)
    set_up(tool)
    once = path.read_bytes()
    assert once != raw
    set_up(tool)
    assert path.read_bytes() == once
    set_up(tool, undo=True)
    assert path.read_bytes() == raw
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert (home / "config/juniper.toml").read_text() == TOML


@pytest.mark.parametrize("tool", PATHS)
def test_a_file_that_was_not_there_is_not_there_again(home: Path, tool: str) -> None:
    set_up(tool)
    assert (home / PATHS[tool]).is_file()
    set_up(tool, undo=True)
    assert not (home / PATHS[tool]).exists()


@pytest.mark.parametrize("tool", PATHS)
def test_a_link_stays_and_what_it_leads_to_is_written(home: Path, tool: str) -> None:
    real = home / "dotfiles" / "file"
    real.parent.mkdir()
    raw = b"{}\n" if tool == "docker" else b""
    real.write_bytes(raw)
    link = home / PATHS[tool]
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(real)
    set_up(tool)
    assert link.is_symlink()
    assert real.read_bytes() != raw
    set_up(tool, undo=True)
    assert (link.is_symlink(), real.read_bytes()) == (True, raw)


@pytest.mark.parametrize(("tool", "raw", "says", "how"), BAD)
def test_what_is_not_understood_is_left_alone(
    home: Path, capsys: pytest.CaptureFixture[str], tool: str, raw: bytes, says: str, how: str
) -> None:
    path = placed(home, tool, raw)
    with pytest.raises(ConfigError, match=says) as caught:
        set_up(tool)
    assert "\n" not in str(caught.value)
    assert how in capsys.readouterr().out + str(caught.value)
    assert path.read_bytes() == raw
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(path.name)] == [path.name]
    assert (home / "config/juniper.toml").read_text() == TOML


@pytest.mark.parametrize("tool", PATHS)
def test_a_folder_in_its_place_is_said(home: Path, tool: str) -> None:
    (home / PATHS[tool]).mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be read as text"):
        set_up(tool)


@pytest.mark.parametrize("tool", ["aws", "docker", "git"])
def test_what_its_owner_made_read_only_stays_so_and_nothing_else_is_written(home: Path, tool: str) -> None:
    raw = b"{}\n" if tool == "docker" else b"# mine\n"
    path = placed(home, tool, raw, 0o444)
    with pytest.raises(ConfigError, match=r"is read-only; run: chmod u\+w"):
        set_up(tool)
    assert path.read_bytes() == raw
    assert (home / "config/juniper.toml").read_text() == TOML


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"# only a comment\n",
        b"version = 1\n",
        b'version = 1\n[store]\nkind = "memory"',
        TOML.encode(),
        TOML.replace("\n", "\r\n").encode(),
        TOML.encode() + b'\n[network]\nno_proxy = [\n  "a",\n]\n# the end\n\n',
        b'version = 1\nissuer.team = {url = "https://t.example.com", idp = "https://i.example.com"}\n',
    ],
)
def test_the_issuer_goes_from_juniper_toml_as_it_came(home: Path, raw: bytes) -> None:
    path = home / "config/juniper.toml"
    path.write_bytes(raw)
    network = Network("http://proxy:3128", ("a.example.com",), Path("/ca.pem"))
    old = files.read(path)
    try:
        new = issuer.with_issuer(old, FOUND, network)
    except ConfigError as refused:
        assert "add by hand: issuer.new = {url =" in str(refused)  # noqa: PT017 - either is right, by how it is written
        assert b"issuer.team" in raw
        return
    Plan((setup_plan.change(path, old, new),)).carry_out()
    assert issuer.with_issuer(new, FOUND, network) == new
    Plan((setup_issuer.without(FOUND.url),)).carry_out()
    assert (path.read_bytes() if path.exists() else b"") == raw


def test_what_stands_behind_the_issuer_stays(home: Path) -> None:
    path = home / "config/juniper.toml"
    behind = (
        '\n# theirs, of the next table\n[issuer.other]\nurl = "https://o.example.com"\nidp = "https://i.example.com"\n'
    )
    before = issuer.with_issuer(TOML, FOUND, Network())
    path.write_text(before + '\n[issuer.new.git."g.example.com"]\n' + behind)
    left = issuer.without_issuer(files.read(path), FOUND.url)
    assert left == TOML + behind
