"""One question put to GitLab, and its answer read into a fact, or into the trouble there was with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from juniperd.issuer.facts import Asked, Fact, Malformed, Trouble
from juniperd.issuer.gitlab import LIFE, Gitlab, Question, Reply
from juniperd.model import Clock

T = TypeVar("T")
_MOST = 5
"""Names of a list that its answer in a few words holds."""


class NotLinked(Exception):  # a fact, told to the reader of one answer
    """No GitLab user carries this identity."""


class Hidden(Exception):  # a fact, told to the reader of one answer
    """A thing that must exist was answered with 404."""


class Asking:
    """GitLab, asked for facts; a reader raises :class:`Malformed`, :class:`NotLinked` or :class:`Hidden`."""

    def __init__(self, gitlab: Gitlab, *, clock: Clock) -> None:
        self._gitlab = gitlab
        self._clock = clock

    async def ask(self, question: Question, read: Callable[[object], tuple[T, str]], *, life: float = LIFE) -> Fact[T]:
        """What ``read`` makes of the answer: a value, and the answer in a few words; ``life``: seconds it may be old."""
        reply = await self._gitlab.ask(question, life=life)
        if isinstance(reply, Trouble):
            return Fact(Asked(str(question), reply.text, self._clock()), trouble=reply)
        return _read(question, reply, read)

    async def rows(self, question: Question, make: Callable[[object], T]) -> Fact[tuple[T, ...]]:
        """A whole list, each row made by ``make``."""

        def read(value: object) -> tuple[tuple[T, ...], str]:
            rows = tuple(make(row) for row in as_list(value))
            return rows, _names(rows)

        return await self.ask(question, read)


def _read(question: Question, reply: Reply, read: Callable[[object], tuple[T, str]]) -> Fact[T]:
    try:
        value, answer = read(reply.value)
    except Malformed as error:
        trouble = Trouble("gitlab_doubtful", passing=False, text=f"{question}: {error}")
    except NotLinked:
        trouble = Trouble("not_linked", passing=False, text="no GitLab user carries this sign-in")
    except Hidden:
        trouble = Trouble("project_hidden", passing=False, text=f"{question} was answered 404")
    else:
        return Fact(Asked(str(question), answer, reply.at), value)
    return Fact(Asked(str(question), trouble.text, reply.at), trouble=trouble)


def as_list(value: object) -> list[object]:
    """A JSON list, or :class:`Malformed`."""
    if not isinstance(value, list):
        msg = "a list was expected"
        raise Malformed(msg)
    return value


def _names(rows: tuple[object, ...]) -> str:
    """A list in a few words: its first names, and how many there are."""
    names = [row if isinstance(row, str) else str(getattr(row, "name", row)) for row in rows]
    more = f", … {len(names)} in all" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more or "none"
