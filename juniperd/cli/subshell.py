"""A shell within a debugging session: the person's own, with the time left in its prompt.

Their own start-up files run first; what points tools at the session is said again after them, since many of those files
set the same variables.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from juniperd.setup.session import WINNING, pointing

ENDS = "ends"
"""The file in the session's folder with the second at which it ends."""
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_./ *?\[\]-]")
"""What a prompt might run or print otherwise: the issuer says the names, and some shells run ``$(…)`` in ``PS1``."""
_LEFT = """\
__juniper_left() {
  __juniper_ends=$(cat %(ends)s 2>/dev/null) || { printf '(juniper: %(about)s, over) '; return; }
  printf '(juniper: %(about)s, %%s min left) ' "$(( (__juniper_ends - $(date +%%s) + 59) / 60 ))"
}
"""
_FISH = """\
function __juniper_left
  set -l ends (cat %(ends)s 2>/dev/null)
  if test -z "$ends"
    printf '(juniper: %(about)s, over) '
  else
    printf '(juniper: %(about)s, %%s min left) ' (math "floor(($ends - "(date +%%s)" + 59) / 60)")
  end
end
functions -c fish_prompt __juniper_prompt
function fish_prompt
  __juniper_left
  __juniper_prompt
end
"""


@dataclass(frozen=True, slots=True)
class Shell:
    """How a shell is started: its words, its further variables, and the files it reads by their names in the folder."""

    words: tuple[str, ...]
    variables: Mapping[str, str]
    files: Mapping[str, str]


def shell(program: str, folder: Path, about: str, environ: Mapping[str, str]) -> Shell:
    """The person's shell; one that is not known gets a plain prompt that says where it is."""
    name = Path(program).name
    said = {"ends": shlex.quote(str(folder / ENDS)), "about": _NOT_PLAIN.sub("", about)}
    again = _again(environ)
    if name == "bash":
        text = f"[ -f ~/.bashrc ] && . ~/.bashrc\n{again}{_LEFT % said}PS1='$(__juniper_left)'\"$PS1\"\n"
        return Shell((program, "--rcfile", str(folder / "bashrc"), "-i"), {}, {"bashrc": text})
    if name == "zsh":
        theirs = shlex.quote(environ.get("ZDOTDIR") or environ.get("HOME", ""))
        text = (
            f'ZDOTDIR="$__juniper_theirs"\nunset __juniper_theirs\n[ -f "$ZDOTDIR/.zshrc" ] && . "$ZDOTDIR/.zshrc"\n{again}{_LEFT % said}'
            "setopt PROMPT_SUBST\nPROMPT='$(__juniper_left)'\"$PROMPT\"\n"
        )
        # Theirs may move ZDOTDIR on, as many do who keep their files below ~/.config.
        env = (
            f"ZDOTDIR={theirs}\n[ -f {theirs}/.zshenv ] && . {theirs}/.zshenv\n"
            f'__juniper_theirs="$ZDOTDIR"\nZDOTDIR={shlex.quote(str(folder / "zsh"))}\n'
        )
        return Shell((program, "-i"), {"ZDOTDIR": str(folder / "zsh")}, {"zsh/.zshrc": text, "zsh/.zshenv": env})
    if name == "fish":
        text = _again_in_fish(environ) + _FISH % said
        source = f"source {shlex.quote(str(folder / 'config.fish'))}"
        return Shell((program, "-i", "-C", source), {}, {"config.fish": text})
    return Shell((program, "-i"), {"PS1": f"(juniper: {said['about']}) $ "}, {})


def _again(environ: Mapping[str, str]) -> str:
    lines = [f"unset {' '.join(WINNING)}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in pointing(environ).items()]
    return "\n".join(lines) + "\n"


def _again_in_fish(environ: Mapping[str, str]) -> str:
    lines = [f"set -e {' '.join(WINNING)}"]
    for name, value in pointing(environ).items():
        quoted = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        lines.append(f"set -gx {name} {quoted}")
    return "\n".join(lines) + "\n"


def program(environ: Mapping[str, str]) -> str:
    """``SHELL``, where it is a program; else the one that every system has."""
    named = environ.get("SHELL", "")
    return named if named and os.access(named, os.X_OK) else "/bin/sh"
