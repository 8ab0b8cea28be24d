"""``juniper completion``: the script for a shell, and the words that it asks for."""

from __future__ import annotations

import argparse

from juniperd.errors import UsageError

EXAMPLES = """examples:
  juniper completion bash
  juniper completion zsh
  juniper completion fish"""
TAKES_COMMAND = True
_SHELLS = ("bash", "zsh", "fish")


def register(parser: argparse.ArgumentParser) -> None:
    """For which shell; ``--words`` is the scripts' own."""
    parser.add_argument("shell", nargs="?", choices=_SHELLS, help="the shell that is to read it")
    parser.add_argument("--words", type=int, metavar="AT", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """The script, or one word a line with what it is, behind a tab."""
    if args.words is not None:
        from juniperd.cli import completing

        for word, about in completing.words(args.command, args.words - 1):
            print(f"{word}\t{about}")
        return 0
    if args.shell is None:
        msg = "no shell is named"
        raise UsageError(msg, f"run: juniper completion {'|'.join(_SHELLS)}")
    from juniperd.setup import completion

    print(completion.script(args.shell), end="")
    return 0
