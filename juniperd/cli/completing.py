"""The words that may come next on a command line of ``juniper``, from the very parsers that read it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence

from juniperd.cli import VERBS, parser_of

Word = tuple[str, str]
"""A word, and what it is in a line."""


def words(typed: Sequence[str], at: int) -> list[Word]:
    """What the word at ``at``, counted from the verb, can be; none where only the person can know."""
    current = typed[at] if 0 <= at < len(typed) else ""
    before = list(typed[: max(at, 0)])
    if not before:
        found: list[Word] = [*VERBS.items(), ("--help", "what the verbs are"), ("--version", "the release")]
    elif before[0] not in VERBS or "--" in before:
        return []
    else:
        found = list(_next(parser_of(before[0]), before[1:], current))
    return [(word, about) for word, about in found if word.startswith(current)]


def _next(parser: argparse.ArgumentParser, before: Sequence[str], current: str) -> Iterator[Word]:
    """What can follow the words ``before`` of a verb."""
    positionals = _positionals(parser)
    waiting: argparse.Action | None = None
    for word in before:
        if waiting is not None:
            waiting = None
        elif word.startswith("-"):
            option = _option(parser, word)
            waiting = option if option is not None and option.nargs != 0 and "=" not in word else None
        elif positionals:
            action = positionals.pop(0)
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no public name for it
                parser = action.choices.get(word, argparse.ArgumentParser(add_help=False))
                positionals = _positionals(parser)
    if waiting is not None:
        yield from _values(waiting, current)
    elif current.startswith("-"):
        yield from _options(parser)
    elif positionals:
        yield from _values(positionals[0], current)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [one for one in parser._actions if one.help != argparse.SUPPRESS]  # noqa: SLF001 - nothing public lists them


def _positionals(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [one for one in _actions(parser) if not one.option_strings]


def _option(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    name = word.partition("=")[0]
    return next((one for one in _actions(parser) if name in one.option_strings), None)


def _options(parser: argparse.ArgumentParser) -> Iterator[Word]:
    for action in _actions(parser):
        for name in action.option_strings:
            if name.startswith("--"):
                yield name, _about(action.help)


def _values(action: argparse.Action, current: str) -> Iterator[Word]:
    """The choices of a value, or the words that its place in the usage names, as in ``URL|aws|docker``."""
    if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
        helps = {one.dest: one.help for one in action._choices_actions}  # noqa: SLF001 - as above
        yield from ((name, _about(helps.get(name))) for name in action.choices)
        return
    if action.choices is not None:
        yield from ((str(choice), _about(action.help)) for choice in action.choices)
        return
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    done, comma, _rest = current.rpartition(",")
    names = [name for name in re.split(r"[|,]", metavar) if re.fullmatch(r"[a-z][a-z-]*", name)]
    if "," in metavar:
        chosen = done.split(",")
        yield from ((f"{done}{comma}{name}", _about(action.help)) for name in names if name not in chosen)
    elif "|" in metavar:
        yield from ((name, _about(action.help)) for name in names)


def _about(text: str | None) -> str:
    """A line of help as a shell may show it."""
    return " ".join((text or "").replace("%%", "%").split())
