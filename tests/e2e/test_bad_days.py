"""What a person reads where their set-up is wrong: one line that names the cure, and nothing half-done."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from .company import BIN, Done, done, ends, run, running_with

pytestmark = pytest.mark.e2e


@pytest.fixture
def laptop() -> Iterator[dict[str, str]]:
    """A person's variables with a home of their own, nothing configured and no agent; nothing runs afterwards."""
    with tempfile.TemporaryDirectory(prefix="jun-") as name:
        home = Path(name)
        env = {"HOME": name, "PATH": f"{BIN}:{os.defpath}", "LANG": "C.UTF-8"}
        (home / "run").mkdir(mode=0o700)
        env |= {"XDG_RUNTIME_DIR": str(home / "run"), "XDG_CONFIG_HOME": str(home / ".config")}
        yield env
        for pid in running_with("HOME", name):
            juniper(env, "down")
            assert ends(pid)


def juniper(env: Mapping[str, str], *words: str) -> Done:
    return done(run(("juniper", *words), env))


def helper(env: Mapping[str, str]) -> Done:
    return done(run(("juniper-aws", "--scope", "invoice-archive-writer"), env))


def configure(env: Mapping[str, str], text: str) -> Path:
    """Write the agent's configuration."""
    path = Path(env["HOME"], ".config", "juniper", "juniper.toml")
    path.parent.mkdir(mode=0o700, parents=True)
    path.write_text(text)
    return path


def test_no_configuration(laptop: dict[str, str]) -> None:
    path = Path(laptop["HOME"], ".config", "juniper", "juniper.toml")
    said = f"no configuration at {path}; run: juniper setup https://your-issuer"
    first = juniper(laptop, "login")
    assert (first.status, first.stdout, first.line) == (1, "", f"juniper: {said}")
    second = helper(laptop)
    assert (second.status, second.stdout, second.line) == (78, "", f"juniper-aws: {said}")


def test_a_repository_s_environment_does_not_choose_the_configuration(laptop: dict[str, str]) -> None:
    """A helper's agent sits at everybody's usual socket, so neither HOME nor JUNIPER_CONFIG leads it elsewhere."""
    if Path(pwd.getpwuid(os.getuid()).pw_dir, ".config/juniper/juniper.toml").exists():
        pytest.skip("this would start an agent with your own configuration")
    path = configure(laptop, "version = 2\n")
    moved = {name: value for name, value in laptop.items() if name != "XDG_CONFIG_HOME"}
    answer = helper(moved)
    assert (answer.status, answer.stdout) == (78, "")
    assert answer.line.endswith("juniper.toml; run: juniper setup https://your-issuer")
    assert laptop["HOME"] not in answer.line
    login = juniper(moved | {"JUNIPER_CONFIG": str(path), "XDG_RUNTIME_DIR": laptop["HOME"]}, "login")
    assert (login.status, "set JUNIPER_SOCKET too" in login.line) == (1, True)


def test_a_configuration_written_since_is_read(laptop: dict[str, str]) -> None:
    """The agent that said so ends by itself, so that nobody has to know that it ran."""
    assert "no configuration" in juniper(laptop, "login").line
    configure(laptop, 'version = 1\n[issuer.team]\nurl = "https://127.0.0.1:9"\nidp = "https://127.0.0.1:9"\n')
    assert all(ends(pid) for pid in running_with("HOME", laptop["HOME"]))
    after = juniper(laptop, "login")
    assert after.status == 1
    assert "no configuration" not in after.line
    assert "127.0.0.1" in after.line


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ('version = 1\n[issuer.team]\nurl = "https://i.example"\nidb = "https://idp.example"\n', 2, "idp"),
        ('version = 1\n\n[issuer.team\nurl = "https://i.example"\n', 3, ""),
        ('version = 1\n[issuer.team]\nurl = "http://i.example"\nidp = "https://idp.example"\n', 3, "https"),
        ("version = 2\n", 1, "version"),
    ],
)
def test_a_broken_configuration_is_named_with_its_line(laptop: dict[str, str], text: str, line: int, word: str) -> None:
    path = configure(laptop, text)
    refused = juniper(laptop, "login")
    assert (refused.status, refused.stdout) == (1, "")
    assert str(path) in refused.line
    assert f":{line}:" in refused.line
    assert word in refused.line
    assert "; " in refused.line
    assert path.read_text() == text
    assert helper(laptop).line.partition(": ")[2] == refused.line.partition(": ")[2]


def test_a_socket_folder_open_to_others(laptop: dict[str, str]) -> None:
    folder = Path(laptop["XDG_RUNTIME_DIR"], "juniper")
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    refused = done(run(("juniperd",), laptop))
    assert (refused.status, refused.line) == (
        73,
        f"juniperd: {folder} is open to other users; run: chmod 700 {folder}",
    )
    assert list(folder.iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    started = juniper(laptop, "up")
    assert started.status != 0
    assert "; run" in started.line
    assert helper(laptop).line == "juniper-aws: the agent did not start within 4 s; run: juniper up"


def test_a_socket_folder_that_is_a_link(laptop: dict[str, str]) -> None:
    there = Path(laptop["HOME"], "there")
    there.mkdir(mode=0o700)
    folder = Path(laptop["XDG_RUNTIME_DIR"], "juniper")
    folder.symlink_to(there)
    refused = done(run(("juniperd",), laptop))
    assert (refused.status, refused.line) == (73, f"juniperd: {folder} is not a real folder; run: rm {folder}")
    assert list(there.iterdir()) == []


def test_a_file_where_the_socket_should_be(laptop: dict[str, str]) -> None:
    path = Path(laptop["HOME"], "run", "mine")
    path.write_text("keep")
    refused = done(run(("juniperd",), {**laptop, "JUNIPER_SOCKET": str(path)}))
    assert (refused.status, refused.line) == (73, f"juniperd: {path} is not a socket; run: rm {path}")
    assert path.read_text() == "keep"


def test_a_socket_path_too_long_for_the_system(laptop: dict[str, str]) -> None:
    long = {**laptop, "JUNIPER_SOCKET": f"{laptop['HOME']}/{'x' * 120}/agent.sock"}
    verbs = juniper(long, "status"), juniper(long, "login"), done(run(("juniperd",), long))
    for refused, status in zip(verbs, (1, 1, 78), strict=True):
        assert refused.status == status
        assert refused.line.endswith("the socket's path is longer than 107 bytes; set JUNIPER_SOCKET to a shorter path")
    assert "JUNIPER_SOCKET" in helper(long).line


def test_nobody_is_asked_to_know_an_unknown_verb(laptop: dict[str, str]) -> None:
    refused = juniper(laptop, "lgin")
    assert (refused.status, refused.line) == (2, "juniper: no verb 'lgin'; did you mean: juniper login?")
