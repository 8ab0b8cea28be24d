"""``make faults``: everything dies everywhere, and the figures of what came of it."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.points import Row, kill

SEED, POINTS = 20261125, 216


def _tell(row: Row) -> None:
    print(f"{row.point}: died at {row.died_at}; saw: {row.saw}; then: {row.after}", flush=True)


def main() -> None:
    """Run them and sum up; what breaks a promise ends it with a traceback that names the point."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--points", type=int, default=POINTS)
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="jun-") as place:
        rows = asyncio.run(kill(Path(place), seed=args.seed, points=args.points, tell=_tell))
    died = sum(row.died_at != "nowhere" for row in rows)
    print(
        f"\n{len(rows)} points of seed {args.seed} in {time.monotonic() - began:.0f} s; {died} died where they should"
    )
    for name, count in Counter(("served" if r.saw == "served" else "told why") for r in rows).items():
        print(f"  callers {name}: {count}")
    for name, count in Counter(r.after.partition(":")[0] for r in rows).items():
        print(f"  afterwards {name}: {count}")
    print("  lost, leaked or doubled: 0")


if __name__ == "__main__":
    main()
