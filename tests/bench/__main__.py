"""``python -m tests.bench``: every budget of the design, as ratios in one run where a ratio is possible."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.bench import agent, figures, issuer, kubectl
from tests.bench.company import company


def main() -> int:
    """Measure, print, write; the status says whether every budget was kept."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), help="where to write the figures")
    args = parser.parse_args()
    measured: list[figures.Figure] = []
    with company() as place:
        for part in (
            agent.helper,
            agent.pulls,
            agent.command_line,
            agent.warm,
            kubectl.get,
            agent.cold_callers,
            agent.cold_mint,
            issuer.tokens,
        ):
            for figure in part(place):
                print(figure.line(), flush=True)
                measured.append(figure)
        for part in (agent.start, agent.memory):
            for figure in part(place):
                print(figure.line(), flush=True)
                measured.append(figure)
    for figure in issuer.decisions():
        print(figure.line(), flush=True)
        measured.append(figure)
    figures.write(measured, args.json)
    print(f"written: {args.json}")
    return 1 if any(f.verdict == "OVER" for f in measured) else 0


if __name__ == "__main__":
    sys.exit(main())
