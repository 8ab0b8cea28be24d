"""Git's own configuration: one block of ours at its end, with a section per host, and one per project that is held there.

``useHttpPath`` has Git say which repository it means, and an empty ``helper`` drops those named before (gitcredentials(7)).
That is done for the projects alone: nobody else is asked for those, or stores what we give, and every other repository of
the host stays with the person's own helpers. At the end, as Git reads helpers in order.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
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


def with_hosts(text: str, hosts: Mapping[str, Sequence[str]], helper: Path) -> str:
    """The file's text with our block as it should be, from hosts and their projects; once more changes nothing."""
    rest = without_hosts(text)
    if not hosts:
        return rest
    sections = [section for host, projects in hosts.items() for section in _sections(host, projects, helper)]
    return block.added(rest, "\n".join(sections), COMMAND)


def without_hosts(text: str) -> str:
    """The file's text without our block: what ``--undo`` leaves."""
    return block.removed(text, file="git configuration", command=COMMAND)


def _sections(host: str, projects: Sequence[str], helper: Path) -> Iterator[str]:
    """Git takes a section for the repositories below its path, of which a project has two spellings."""
    ours = f"\thelper = {_quoted(helper)}\n"
    yield f'[credential "https://{host}"]\n{ours}\tuseHttpPath = true\n'
    for project in projects:
        for path in (project, f"{project}.git"):
            yield f'[credential "https://{host}/{path}"]\n\thelper =\n{ours}'


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
