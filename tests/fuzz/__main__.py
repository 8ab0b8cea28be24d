"""``make fuzz``: each target for a while, from its seeds and from what earlier runs found; prints its figures.

``python -m tests.fuzz [SECONDS [TARGET ...]]``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .runner import TARGETS, program, run

SECONDS = 120
FOLDER = Path(__file__).parents[2] / "build" / "fuzz"


def main() -> None:
    """Fuzz, and stop at the first finding: the input that made it lies in ``build/fuzz``."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"{'target':<8} {'executions':>11} {'edges':>6} {'new':>5} {'inputs':>7} {'seconds':>8}", flush=True)
    for target in sys.argv[2:] or TARGETS:
        command = program(target, FOLDER)
        done = run(command, target, FOLDER / "corpus" / target, f"-max_total_time={seconds}", "-max_len=70000")
        print(
            f"{target:<8} {done.executions:>11,} {done.reached:>6} {done.new_coverage:>5} "
            f"{done.new_inputs:>7} {done.seconds:>8.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
