"""Git's own configuration: one block of ours at its end, with one section per host.

An empty ``helper`` drops those named before, so that nobody else is asked for these hosts or stores what we give; and
``useHttpPath`` has Git say which repository it means (gitcredentials(7)). At the end, as Git reads helpers in order.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from juniperd.errors import ConfigError, one_line
from juniperd.setup import block

COMMAND = "juniper setup git"
LIMIT = 20.0
"""Seconds git may take to read a file."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_./ -]")


def config_file(environ: Mapping[str, str], home: Path) -> Path:
    """The file that ``git config --global`` writes: ``GIT_CONFIG_GLOBAL``, else one of two in the home."""
    if named := environ.get("GIT_CONFIG_GLOBAL"):
        return Path(named)
    own = home / ".gitconfig"
    other = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "git" / "config"
    return other if other.exists() and not own.exists() else own


def with_hosts(text: str, hosts: Sequence[str], helper: Path) -> str:
    """The file's text with our block as it should be; the same block again changes nothing."""
    rest = without_hosts(text)
    if not hosts:
        return rest
    return block.added(rest, "\n".join(_section(host, helper) for host in hosts), COMMAND)


def without_hosts(text: str) -> str:
    """The file's text without our block: what ``--undo`` leaves."""
    return block.removed(text, file="git configuration", command=COMMAND)


def _section(host: str, helper: Path) -> str:
    lines = [
        f'[credential "https://{host}"]',
        "\thelper =",
        f"\thelper = {_quoted(helper)}",
        "\tuseHttpPath = true",
    ]
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    """A path for git's own reader first and then for a shell, which runs it."""
    text = str(path)
    if _UNSAFE.search(text):
        msg = f"the helper's path {one_line(text, 200)} has characters that git's shell would not leave alone"
        raise ConfigError(msg, "install juniperd below a path of letters, digits, '-', '_' and '.'")
    return text.replace(" ", "\\\\ ")


def check(path: Path, text: str) -> None:
    """Refuse to add to a file that git itself does not read: behind a broken line ours might mean anything."""
    program = shutil.which("git")
    if program is None:
        msg = "there is no git in PATH"
        raise ConfigError(msg, f"install git, then run: {COMMAND}")
    command = [program, "config", "--file", "-", "--no-includes", "--list"]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"git gave no answer ({type(error).__name__})"
        raise ConfigError(msg, "run: git config --list") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
        msg = f"git cannot read {path}: {said.replace('standard input', 'it')}"
        raise ConfigError(msg, f"mend it, then run: {COMMAND}; nothing was written")


def push_line(host: str) -> str:
    """What sends pushes past us, by the person's own key."""
    name = re.sub(r":[0-9]+$", "", host)
    setting = shlex.quote(f"url.git@{name}:.pushInsteadOf")
    return f"git config --global {setting} {shlex.quote(f'https://{host}/')}"
