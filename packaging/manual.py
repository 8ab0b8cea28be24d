"""The manual, from what ``--help`` says: one page for each verb and one for the program. ``manual.py FOLDER`` writes it.

It needs nothing but the standard library, since wheels are built where no dependency is installed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from juniperd import __version__  # noqa: E402 - the package beside us, whatever is installed
from juniperd.cli import VERBS, parser_of  # noqa: E402 - as above

STATUS = """.TP
.B 0
Done.
.TP
.B 1
It was refused, or has failed; one line on standard error says why, and what cures it.
.TP
.B 2
What was typed cannot be meant.
"""
FILES = """.TP
.I ~/.config/juniper/juniper.toml
The configuration; JUNIPER_CONFIG names another.
.TP
.I $XDG_RUNTIME_DIR/juniper/agent.sock
The agent's socket; JUNIPER_SOCKET names another.
.TP
.I ~/.local/state/juniper
What the agent keeps. No secret lies there: the sign-in is in the keyring of the system.
"""


def pages() -> Iterator[tuple[str, str]]:
    """Each page's file name and its text in man(7)."""
    yield "juniper.1", _program()
    yield "juniperd.1", _agent()
    for verb in VERBS:
        yield f"juniper-{verb}.1", _verb(verb)


def _program() -> str:
    verbs = "".join(f".TP\n.BR juniper\\-{verb} (1)\n{_sentence(line)}\n" for verb, line in VERBS.items())
    return (
        _head("juniper", "sign in once; tools hold what a GitLab job of yours would hold")
        + ".SH SYNOPSIS\n.B juniper\n.I VERB\n[options]\n"
        + ".SH DESCRIPTION\nEach verb has a page of its own, and says the same with \\-\\-help.\n"
        + f".SH VERBS\n{verbs}.SH FILES\n{FILES}.SH EXIT STATUS\n{STATUS}"
        + ".SH SEE ALSO\n.BR juniperd (1)\n"
    )


def _agent() -> str:
    from juniperd.cli.daemon import HELP

    usage, _blank, text = HELP.partition("\n\n")
    return (
        _head("juniperd", "the agent that holds a sign-in and its credentials")
        + f".SH SYNOPSIS\n.nf\n{_roff(usage.removeprefix('usage: '))}\n.fi\n"
        + f".SH DESCRIPTION\n{_roff(text)}\n.SH FILES\n{FILES}.SH SEE ALSO\n.BR juniper (1)\n"
    )


def _verb(verb: str) -> str:
    parser = parser_of(verb)
    usage = parser.format_usage().removeprefix("usage: ").rstrip()
    text = _head(f"juniper-{verb}", VERBS[verb]) + f".SH SYNOPSIS\n.nf\n{_roff(usage)}\n.fi\n"
    text += f".SH DESCRIPTION\n{_sentence(parser.description or VERBS[verb])}\n"
    text += _options(parser)
    for name, sub in _subverbs(parser):
        text += f".SH {_roff(name.upper())}\n{_sentence(sub.description or '')}\n.PP\n.nf\n"
        text += f"{_roff(sub.format_usage().removeprefix('usage: ').rstrip())}\n.fi\n{_rows(sub)}"
    examples, _blank, rest = (parser.epilog or "").removeprefix("examples:\n").partition("\n\n")
    text += f".SH EXAMPLES\n.nf\n{_roff(examples)}\n.fi\n" if examples else ""
    text += f".SH NOTES\n{_notes(rest)}\n" if rest else ""
    return text + f".SH EXIT STATUS\n{STATUS}.SH SEE ALSO\n.BR juniper (1)\n"


def _head(name: str, about: str) -> str:
    title = name.upper().replace("-", "\\-")
    return f'.TH "{title}" "1" "" "juniper {__version__}" "Juniper"\n.SH NAME\n{_roff(name)} \\- {_roff(about)}\n'


def _notes(text: str) -> str:
    """Sentences; lines that are set in below a first one are a file's, and stay as they are."""
    first, _newline, lines = text.partition("\n")
    if not lines or not all(line.startswith("  ") for line in lines.splitlines()):
        return _sentence(text)
    return f"{_roff(first[0].upper() + first[1:])}\n.nf\n{_roff(lines)}\n.fi"


def _options(parser: argparse.ArgumentParser) -> str:
    rows = _rows(parser)
    return f".SH OPTIONS\n{rows}" if rows else ""


def _rows(parser: argparse.ArgumentParser) -> str:
    """Every argument with its line of help, as argparse itself prints them."""
    formatter = parser.formatter_class(prog=parser.prog)
    text = ""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to list them
        verbs = isinstance(action, argparse._SubParsersAction)  # noqa: SLF001 - as above
        if verbs or action.dest == "help" or action.help == argparse.SUPPRESS:
            continue
        about = formatter._expand_help(action) if action.help else ""  # noqa: SLF001 - as above
        text += f".TP\n.B {_roff(formatter._format_action_invocation(action))}\n{_sentence(about)}\n"  # noqa: SLF001 - as above
    return text


def _subverbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            lines = {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001 - as above
            for name, sub in action.choices.items():
                sub.description = sub.description or lines.get(name)
                yield name, sub
                yield from ((f"{name} {inner}", one) for inner, one in _subverbs(sub))


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    ended = text if text.endswith((".", "?", "!")) or not text else f"{text}."
    return _roff(ended[:1].upper() + ended[1:])


def _roff(text: str) -> str:
    """Text that a formatter takes for text (groff_man(7), "Portability"): no escapes, no requests."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    escaped = escaped.replace("^", "\\(ha").replace("~", "\\(ti").replace("…", "...")
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in escaped.split("\n"))


def main() -> None:
    """Write them all."""
    os.environ["COLUMNS"] = "80"  # argparse breaks lines for the terminal that it finds
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
