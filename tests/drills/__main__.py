"""``make drills``: the table of what was taken away, the bound, and the seconds to the last mint."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import pytest
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends

from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.company import ACCOUNT, REGION
from tests.drills.drills import DRILLS, Drill, measure
from tests.e2e.whole import whole


async def _one(drill: Drill, account: AwsAccount) -> float:
    for backends in (iam_backends, s3_backends):
        backends[ACCOUNT].reset()
    with tempfile.TemporaryDirectory(prefix="jun-") as place, pytest.MonkeyPatch.context() as patch:
        async with whole(Path(place), account, patch) as inside:
            await inside.sign_in()
            return await measure(inside, drill)


def main() -> int:
    """Run them all; the status says whether each kept its bound."""
    account, late = AwsAccount(ACCOUNT, REGION), 0
    account.start()
    print(f"{'taken away':<50} {'bound':>8} {'last mint after':>16}")
    try:
        for drill in DRILLS:
            figure = asyncio.run(_one(drill, account))
            late += figure > drill.bound
            print(f"{drill.name:<50} {drill.bound:>6.0f} s {figure:>14.0f} s", flush=True)
    finally:
        account.stop()
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
