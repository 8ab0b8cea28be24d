"""What a check found: one line, and the cure where something is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from juniperd.errors import JuniperError, UpstreamUnreachable, one_line

REACH = "check network, VPN and [network] in juniper.toml"
_CURE = re.compile(r"; (?=run: |install |update |reinstall )")
"""Where a line's cure begins that may have a semicolon of its own."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's result. With a cure there is something to do; a ``note`` is worth knowing and needs nothing done."""

    check: str
    text: str
    cure: str = ""
    note: bool = False

    @classmethod
    def of_line(cls, check: str, line: str) -> Self:
        """From one line of ours, which ends with its cure."""
        found = _CURE.search(line)
        text, cure = (line[: found.start()], line[found.end() :]) if found else _last(line)
        return cls(check, text, cure or "run: juniper status")

    @classmethod
    def of_error(cls, check: str, error: JuniperError) -> Self:
        """What an error says; one that the agent put into words has its cure in its text."""
        if isinstance(error, UpstreamUnreachable):
            # "run: juniper status" is what a tool's line says, and the doctor knows more than that.
            return cls(check, error.message, REACH)
        return cls(check, error.message, error.remedy) if error.remedy else cls.of_line(check, error.message)

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return not self.cure

    @property
    def level(self) -> str:
        """``ok``, ``fix`` or ``note``."""
        if self.cure:
            return "fix"
        return "note" if self.note else "ok"

    @property
    def shown(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "check": one_line(self.check),
            "ok": self.ok,
            "level": self.level,
            "text": one_line(self.text),
            "cure": one_line(self.cure),
        }

    def __str__(self) -> str:
        said = one_line(f"{self.check}: {self.text}")
        return f"{self.level:<4} {said}" if self.ok else f"{self.level:<4} {said}; {one_line(self.cure)}"


def note(check: str, text: str) -> Finding:
    """Worth knowing; nothing needs to be done."""
    return Finding(check, text, note=True)


def _last(line: str) -> tuple[str, str]:
    text, found, cure = line.rpartition("; ")
    return (text, cure) if found else (line, "")
