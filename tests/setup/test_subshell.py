"""A session's shells, really started: what they read before the prompt, and what the prompt says."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import termios
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from juniperd.cli import subshell
from juniperd.setup import session
from tests.requirements import require_peer

SHELLS = ("bash", "zsh", "fish", "dash")


def shown(folder: Path, name: str, about: str, environ: Mapping[str, str], typed: str) -> str:
    """What a shell of that name shows from its prompt to its end, with one line typed at it."""
    program = shutil.which(name)
    if program is None:
        require_peer(name, "it is one of the shells that people have")
    folder.mkdir(mode=0o700)
    started = subshell.shell(str(program), folder, about, environ)
    session.write(folder, {**started.files, subshell.ENDS: "0\n"})
    mine, theirs = pty.openpty()
    # Wide enough for any prompt: a dumb terminal shows the end of a line alone, and the prompt has the folder in it.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 1000, 0, 0))
    env = {**environ, **started.variables}
    process = subprocess.Popen(
        ["setsid", "--ctty", *started.words], env=env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said, sent, deadline = b"", False, time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        if b"staging" in said and not sent:
            os.write(mine, f"{typed}; exit\r".encode())
            sent = True
        if select.select([mine], [], [], 0.1)[0]:
            try:
                said += os.read(mine, 65536)
            except OSError:
                break
    os.close(mine)
    process.kill()
    process.wait(20)
    assert sent, said
    return said.decode(errors="replace")


def plain(home: Path, **more: str) -> dict[str, str]:
    (home / "fish/generated_completions").mkdir(parents=True)
    kept = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "dumb", "HISTFILE": "/dev/null"}
    return {**kept, "XDG_CONFIG_HOME": str(home / ".config"), "XDG_DATA_HOME": str(home), **more}


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize(
    "evil",
    ["$(touch {0})", "`touch {0}`", "'; touch {0}; '", "\\'; touch {0}; \\'", "%(?.x.$(touch {0}))", "\\$(touch {0})"],
)
def test_a_prompt_runs_nothing_of_what_the_issuer_calls_a_project(name: str, evil: str, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    shown(tmp_path / "d", name, f"shop{evil.format(taken)} staging", plain(tmp_path / "home"), "true")
    assert not taken.exists()


def test_zsh_reads_its_files_where_the_person_s_zshenv_says(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "my zsh").mkdir(parents=True)
    (home / ".zshenv").write_text('ZDOTDIR="$HOME/my zsh"\n')
    (home / "my zsh/.zshrc").write_text("MINE=yes\n")
    said = shown(tmp_path / "d", "zsh", "shop staging", plain(home), "echo mine=$MINE in=$ZDOTDIR")
    assert f"mine=yes in={home}/my zsh" in said


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_files_of_a_shell_hold_nothing_of_the_person_s(name: str, tmp_path: Path) -> None:
    theirs = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "http.extraHeader", "GIT_CONFIG_VALUE_0": "secret"}
    theirs |= {
        "AWS_BEARER_TOKEN_BEDROCK": "secret",
        "JUNIPER_TOKEN": "secret",
        "PATH": "/bin",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    environ = session.environment(tmp_path, "/run/s.sock", theirs, Path("/opt/bin"))
    text = "".join(subshell.shell(f"/bin/{name}", tmp_path, "shop/billing staging", environ).files.values())
    assert "secret" not in text
    for kept in ("GIT_CONFIG_KEY_1", "GIT_CONFIG_VALUE_1", "GIT_CONFIG_COUNT", "JUNIPER_SESSION_SOCKET", "KUBECONFIG"):
        assert f" {kept}" in text
    assert "JUNIPER_TOKEN" not in environ


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_prompt_prints_a_name_and_no_escape_sequence(name: str, tmp_path: Path) -> None:
    said = shown(tmp_path / "d", name, "shop\\033]0;taken\\007 staging", plain(tmp_path / "home"), "true")
    assert "\033]0;taken" not in said
