"""A measured figure beside its budget, and how a set of them is shown."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured; ``bound`` is the budget in the same unit, None where there is none."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    at_least: bool = False
    detail: str = ""

    @property
    def verdict(self) -> str:
        """Within the budget, over it, or without one."""
        if self.bound is None:
            return "-"
        kept = self.value >= self.bound if self.at_least else self.value <= self.bound
        return "within" if kept else "OVER"

    def line(self) -> str:
        """One row of the table."""
        sign = "≥" if self.at_least else "≤"
        budget = "" if self.bound is None else f"{sign} {self.bound:g}"
        return f"{self.name:<58} {self.value:>10.3g} {self.unit:<8} {budget:<9} {self.verdict:<7} {self.detail}"


def median(values: Sequence[float]) -> float:
    """The middle value: what a noisy machine leaves standing."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def write(figures: Iterable[Figure], path: Path) -> None:
    """The figures with the machine they were taken on."""
    machine = {"cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}
    rows = [{**asdict(f), "verdict": f.verdict} for f in figures]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "figures": rows}, indent=2) + "\n")
