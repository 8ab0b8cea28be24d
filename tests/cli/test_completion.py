"""``juniper completion``: real shells complete by what is printed for them."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from juniperd.cli import VERBS, completing
from juniperd.setup import completion
from tests.requirements import require_peer

BIN = Path(sys.executable).parent
PATIENCE = 30.0


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        require_peer(name, "only the shell knows whether it completes")
    return found


def environment(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": f"{BIN}:{os.defpath}", "TERM": "dumb", "LANG": "C.UTF-8"}


def names(typed: list[str], at: int) -> list[str]:
    return [word for word, _about in completing.words(typed, at)]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["se"], ["session", "setup"]),
        (["setup", "do"], ["docker"]),
        (["setup", "docker", ""], []),
        (["setup", "--un"], ["--undo"]),
        (["setup", "--only", "aws,ku"], ["aws,kubectl"]),
        (["setup", "--only", "aws,aw"], []),
        (["setup", "--project", ""], []),
        (["session", "op"], ["open"]),
        (["issuer", "deny", "--us"], ["--user"]),
        (["completion", "--wor"], []),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["exec", "--scope", "x", "--", "se"], []),
        (["nothing", ""], []),
    ],
)
def test_what_may_come_next_is_what_the_parser_takes(typed: list[str], words: list[str]) -> None:
    assert names(typed, len(typed) - 1) == words


def test_every_verb_is_offered_first() -> None:
    assert names([], 0) == [*VERBS, "--help", "--version"]


@pytest.mark.parametrize(("typed", "expected"), [("juniper se", "session\nsetup\n"), ("juniper setup ku", "kubectl\n")])
def test_real_bash(tmp_path: Path, typed: str, expected: str) -> None:
    words = typed.split()
    asked = f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _juniper juniper; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    command = [shell("bash"), "--norc", "-c", f"{completion.script('bash')}\ncomplete -p juniper >&2; {asked}"]
    done = subprocess.run(
        command, env=environment(tmp_path), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.stdout, done.returncode) == (expected, 0), done.stderr
    assert done.stderr == "complete -o bashdefault -o default -F _juniper juniper\n"


def test_real_fish(tmp_path: Path) -> None:
    place = tmp_path / ".config/fish/completions/juniper.fish"
    place.parent.mkdir(parents=True)
    place.write_text(completion.script("fish"))
    (tmp_path / "a-file").touch()
    asked = (
        "complete -C 'juniper setup ku'; complete -C 'juniper login --br'; complete -C 'juniper exec --scope x -- a-'"
    )
    done = subprocess.run(
        [shell("fish"), "-c", asked],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    lines = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert lines == ["kubectl", "--browser", "a-file"], done.stderr


def test_real_zsh_on_a_terminal(tmp_path: Path) -> None:
    place = tmp_path / "functions" / "_juniper"
    place.parent.mkdir()
    place.write_text(completion.script("zsh"))
    program, env = shell("zsh"), environment(tmp_path)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(program, [program, "-f", "-i"], env)
    try:
        os.write(terminal, f"PS1='> '; fpath=({place.parent} $fpath); autoload -U compinit; compinit -u -D\n".encode())
        os.write(terminal, b"print -r -- re''ady\n")
        _read_until(terminal, "ready")
        # What was completed is run by a function of that name, which shows the words that it got.
        os.write(terminal, b"function juniper { print -r -- \"got:$*:\" }; print -r -- de''fined\n")
        _read_until(terminal, "defined")
        os.write(terminal, b"juniper setup ku\t--und\t\n")
        assert "got:setup kubectl --undo:" in _read_until(terminal, "got:")
    finally:
        os.write(terminal, b"\x03exit\n")
        os.close(terminal)
        os.waitpid(pid, 0)


def _read_until(terminal: int, said: str) -> str:
    text, deadline = "", time.monotonic() + PATIENCE
    while f"\n{said}" not in text:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, text
        text += os.read(terminal, 65536).decode(errors="replace").replace("\r", "")
    return text
