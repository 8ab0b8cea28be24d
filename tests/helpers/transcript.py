"""Transcripts: what a tool calls, what goes over the socket, and what the tool sees, as text that a person can read.

======================  ===============================================================================
``$ A=b name arg``      the call, with variables added to its environment
``stdin TEXT``          what is piped in; whatever is not read must be there for the next reader
``> version 1``         the helper's version byte
``> a TEXT``            one frame from the helper
``< version 1``         the agent's version byte
``< o TEXT``            one frame from the agent; for ``x`` the status as a number
``< raw TEXT``          bytes from the agent that are no frame
``< hangup``            the agent closes the connection
``stdout TEXT``         all that the tool reads there; so ``stderr``, and ``screen`` where both are one
``left TEXT``           what is left of the piped stdin
``status N``            how the helper ends
======================  ===============================================================================

TEXT is ASCII with Python's escapes; a line that is repeated goes on.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from juniperd import wire

from .scripted import Script, Talk

FOLDER = Path(__file__).parent / "transcripts"


@dataclass(slots=True)
class Transcript:
    """One parsed file."""

    arguments: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[str, bytes | None]] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)
    status: int = 0

    def script(self, *, by_bytes: bool) -> Script:
        """The agent's part."""

        def play(talk: Talk) -> None:
            for side, data in self.steps:
                if data is None:
                    return
                if side == ">":
                    assert talk.hear(len(data)) == data
                else:
                    talk.say(data, by_bytes=by_bytes)
            assert talk.rest() == b"", "the helper sent more than the transcript has"

        return play


def parse(text: str) -> Transcript:
    """A transcript from its text; an unknown line is a mistake in the file."""
    transcript = Transcript()
    for line in text.splitlines():
        head, _, rest = line.partition(" ")
        if not line or head == "#":
            continue
        if head == "$":
            _take_call(transcript, shlex.split(rest))
        elif head in {">", "<"}:
            transcript.steps.append((head, _step(rest)))
        elif head in {"stdin", "stdout", "stderr", "screen", "left"}:
            transcript.texts[head] = transcript.texts.get(head, b"") + _bytes(rest)
        elif head == "status":
            transcript.status = int(rest)
        else:
            raise ValueError(line)
    return transcript


def _take_call(transcript: Transcript, words: list[str]) -> None:
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        transcript.variables[name] = value
    transcript.arguments = tuple(words[1:])


def _bytes(text: str) -> bytes:
    return text.encode("ascii").decode("unicode_escape").encode("latin-1")


def _step(text: str) -> bytes | None:
    kind, _, rest = text.partition(" ")
    if kind == "hangup":
        return None
    if kind == "version":
        return bytes([int(rest)])
    if kind == "raw":
        return _bytes(rest)
    return wire.encode(wire.Frame(kind, bytes([int(rest)]) if kind == "x" else _bytes(rest)))
