"""An agent with 200 leases in its table, in a process of its own: prints its resident KiB, then again with boto3."""

from __future__ import annotations

import asyncio
import gc
import io
import sys
import tempfile
import time
from pathlib import Path

from juniperd import config
from juniperd.agent import Agent
from juniperd.door import open_door
from juniperd.journal import Journal
from juniperd.model import AwsCredential, Kind, Lease, LeaseKey, Secret

LEASES = 200


def _lease(number: int) -> Lease:
    key = LeaseKey("team", "idp", None, f"scope-{number}", Kind.AWS, "aws", None, None, None, ())
    credential = AwsCredential(f"ASIA{number:016}", Secret("s" * 40), Secret("t" * 900), "1" * 12, "arn:aws:sts::x")
    return Lease(key, credential, time.time(), time.time() + 3600)


def _resident() -> int:
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def _measure(path: Path, socket: Path) -> None:
    made = Agent(config.load(path), clock=time.time, journal=Journal(io.StringIO(), time.time))
    serving = asyncio.create_task(made.serve(open_door(socket), socket_path=socket))
    await asyncio.sleep(0)
    for desk in made.desks.values():
        await desk.issuer.directory()
    for number in range(LEASES):
        made.broker._table.put(_lease(number), time.time())
    print(_resident(), flush=True)
    await made.exchanges.warm()
    print(_resident(), flush=True)
    made.stop.set()
    await serving


if __name__ == "__main__":
    # mkdtemp makes a folder of mode 0700, as the door demands.
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        asyncio.run(_measure(Path(sys.argv[1]), Path(folder) / "s"))
