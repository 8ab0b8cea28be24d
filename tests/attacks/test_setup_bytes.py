"""Files that are not as we would write them come back to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from juniperd.setup import aws, docker, files, git, hosts

HELPER = Path("/opt/juniper/bin/git-credential-juniper")
TOML = (
    b'version = 1\r\n\r\n[issuer.team]   # mine\r\nurl = "https://j.example.com"\r\nidp = "https://i.example.com"\r\n'
)


def rewritten(path: Path, old: str, new: str) -> str:
    files.write(path, old, new)
    return files.read(path)


def round_trip(path: Path, raw: bytes) -> bytes:
    """Set up and undo, through the disk."""
    path.write_bytes(raw)
    old = files.read(path)
    if path.name == "config.json":
        mine = rewritten(path, old, docker.read(path, old).with_helpers(["registry.example.com"]))
        files.write(path, mine, docker.read(path, mine).with_helpers([]))
    elif path.name == ".gitconfig":
        mine = rewritten(path, old, git.with_hosts(old, {"gitlab.example.com": ["shop/billing"]}, HELPER))
        files.write(path, mine, git.without_hosts(mine))
    elif path.name == "config":
        profile = aws.Profile("reader", "reader", "eu-west-1")
        mine = rewritten(path, old, aws.with_profiles(old, [profile], HELPER))
        files.write(path, mine, aws.without_profiles(mine))
    else:
        mine = rewritten(path, old, hosts.with_hosts(old, "registry", {"team": {"registry.example.com": "a/b"}}))
        files.write(path, mine, hosts.with_hosts(mine, "registry", {}))
    assert mine != old
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("config.json", b'{\r\n\t"auths": {},\r\n\t"detachKeys": "a"\r\n}\r\n'),
        (".gitconfig", b"[user]\r\n\tname = A\r\n"),
        (".gitconfig", b"[user]\n\tname = A"),
        ("config", b"[default]\r\nregion = eu-west-1\r\n"),
        ("config", b"[default]\nregion = eu-west-1"),
        ("juniper.toml", TOML),
    ],
)
def test_line_ends_survive_set_up_and_undo(tmp_path: Path, name: str, raw: bytes) -> None:
    assert round_trip(tmp_path / name, raw) == raw


def test_the_backup_is_the_old_file_to_the_byte(tmp_path: Path) -> None:
    path, raw = tmp_path / "config.json", b'{\r\n\t"auths": {}\r\n}\r\n'
    path.write_bytes(raw)
    old = files.read(path)
    backup = files.write(path, old, docker.read(path, old).with_helpers(["registry.example.com"]))
    assert backup is not None
    assert backup.read_bytes() == raw
