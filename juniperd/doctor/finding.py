"""What a check found: one line, and the cure where something is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from juniperd.errors import one_line


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's result; without a cure all is well."""

    check: str
    text: str
    cure: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return not self.cure

    def __str__(self) -> str:
        said = one_line(f"{self.check}: {self.text}")
        return f"ok   {said}" if self.ok else f"fix  {said}; {one_line(self.cure)}"
