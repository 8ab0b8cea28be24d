"""``juniper doctor``: what is in the way of one tool, each with its cure."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from juniperd.cli import show

if TYPE_CHECKING:
    from juniperd.doctor.finding import Finding

EXAMPLES = "examples:\n  juniper doctor kubectl\n  juniper doctor kubectl --json"


def register(parser: argparse.ArgumentParser) -> None:
    """Which tool."""
    parser.add_argument("tool", choices=("kubectl",))
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    """Look, and tell; 1 where there is something to do."""
    from juniperd.doctor import kubectl

    found = [*asyncio.run(_issuers()), *kubectl.checks(os.environ, Path.home())]
    if args.json:
        show.as_json([{"check": f.check, "ok": f.ok, "text": f.text, "cure": f.cure} for f in found])
    else:
        for finding in found:
            print(finding)
    return 0 if all(finding.ok for finding in found) else 1


async def _issuers() -> list[Finding]:
    from juniperd import config, paths
    from juniperd.doctor import issuer
    from juniperd.http import Http

    settings = config.load(paths.config_path())
    network = settings.network
    http = Http(
        ca_file=network.ca_file, proxy=network.proxy, no_proxy=network.no_proxy, plain_loopback=settings.sandbox
    )
    async with http:
        return [
            finding
            for name, entry in settings.issuers.items()
            async for finding in issuer.checks(name, entry.url, http, clock=time.time)
        ]
