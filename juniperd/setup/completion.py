"""What completes ``juniper`` in bash, zsh and fish: a few lines each, which ask ``juniper`` itself for the words.

So a script that was installed once knows the verbs of every later release. The program that is asked is the one in PATH,
never the one that was typed: that may be a file of the folder somebody stands in.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MARK = "written by: juniper setup completion"
_BASH = """_juniper() {
    local IFS=$'\\n'
    COMPREPLY=($(command juniper completion --words "$COMP_CWORD" -- "${COMP_WORDS[@]:1}" 2>/dev/null | cut -f 1))
}
complete -o bashdefault -o default -F _juniper juniper
"""
_ZSH = """_juniper() {
    local -a found
    local line
    for line in "${(@f)$(command juniper completion --words $((CURRENT - 1)) -- "${(@)words[2,-1]}" 2>/dev/null)}"; do
        [[ -n $line ]] && found+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
    done
    if (( $#found )); then
        _describe juniper found
    else
        _default
    fi
}
if [[ $funcstack[1] == _juniper ]]; then
    _juniper "$@"
else
    compdef _juniper juniper
fi
"""
_FISH = """function __juniper_words
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l found (command juniper completion --words (count $before) -- $before[2..-1] "$current" 2>/dev/null)
    if set -q found[1]
        printf '%s\\n' $found
    else
        __fish_complete_path "$current"
    end
end
complete -c juniper -f -a '(__juniper_words)'
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one shell finds a script; ``line`` is what the person must add to their own start-up file, if anything."""

    shell: str
    path: Path
    line: str = ""


def script(shell: str) -> str:
    """The script for one of :data:`SHELLS`."""
    first = "#compdef juniper\n" if shell == "zsh" else ""
    return f"{first}# {MARK}    undo: juniper setup completion --undo\n{_SCRIPTS[shell]}"


def is_ours(text: str) -> bool:
    """Whether set-up wrote the file."""
    return any(MARK in line for line in text.splitlines()[:2])


def places(environ: Mapping[str, str], home: Path) -> dict[str, Place]:
    """By shell, the file of the person's own that it reads for ``juniper``."""
    data = _base(environ, "XDG_DATA_HOME", home / ".local/share")
    configuration = _base(environ, "XDG_CONFIG_HOME", home / ".config")
    functions = data / "zsh" / "site-functions"
    bash = Path(environ.get("BASH_COMPLETION_USER_DIR") or data / "bash-completion") / "completions" / "juniper"
    line = "" if _in_fpath(functions, environ, home) else f"fpath=({shlex.quote(str(functions))} $fpath)"
    return {
        "bash": Place("bash", bash),
        "zsh": Place("zsh", functions / "_juniper", line),
        "fish": Place("fish", configuration / "fish" / "completions" / "juniper.fish"),
    }


def packaged(shell: str) -> Path | None:
    """The script that a package of the distribution has brought."""
    return next((path for path in _PACKAGED[shell] if path.exists()), None)


def _base(environ: Mapping[str, str], variable: str, fallback: Path) -> Path:
    value = environ.get(variable, "")
    return Path(value) if value.startswith("/") else fallback


def _in_fpath(functions: Path, environ: Mapping[str, str], home: Path) -> bool:
    """Whether zsh looks there, by its environment or the person's start-up file, which is read and not run."""
    if str(functions) in environ.get("FPATH", "").split(":"):
        return True
    try:
        text = (Path(environ.get("ZDOTDIR") or home) / ".zshrc").read_text(errors="replace")
    except OSError:
        return False
    return str(functions) in text or str(functions).replace(str(home), "~", 1) in text


_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_PACKAGED = {
    "bash": (Path("/usr/share/bash-completion/completions/juniper"),),
    "zsh": (Path("/usr/share/zsh/vendor-completions/_juniper"), Path("/usr/share/zsh/site-functions/_juniper")),
    "fish": (Path("/usr/share/fish/vendor_completions.d/juniper.fish"),),
}
SHELLS = tuple(_SCRIPTS)
"""The shells that are known."""
