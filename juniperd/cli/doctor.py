"""``juniper doctor``: what is in the way, each with its cure; of everything, or of one tool."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from juniperd.cli import connection, show
from juniperd.errors import UsageError

if TYPE_CHECKING:
    from juniperd.doctor.finding import Finding
    from juniperd.doctor.laptop import Laptop

EXAMPLES = """examples:
  juniper doctor
  juniper doctor --json
  juniper doctor --bundle support.json
  juniper doctor kubectl"""
PATIENCE = 8.0
"""Seconds the agent may take for one of our questions: as long as a check has."""
_COLOURS = {"ok": "green", "fix": "red", "note": "yellow"}


def register(parser: argparse.ArgumentParser) -> None:
    """Of what, and for whom."""
    parser.add_argument("tool", nargs="?", choices=("kubectl",), help="this tool alone, with what its clusters say")
    parser.add_argument(
        "--json", action="store_true", help='as JSON: {"findings": [{"check", "ok", "text", "cure", …}]}'
    )
    parser.add_argument("--bundle", metavar="FILE", help="write a new file for whoever helps you; it holds no secret")


def run(args: argparse.Namespace) -> int:
    """Look, and tell; 1 where there is something to do."""
    if args.tool and args.bundle:
        msg = "--bundle is about everything"
        raise UsageError(msg, f"run: juniper doctor --bundle {args.bundle}")
    programs = Path(sys.argv[0]).resolve().parent
    found = _kubectl() if args.tool else asyncio.run(_everything(programs, args.bundle))
    if args.json:
        show.as_json({"findings": [finding.shown for finding in found]})
    else:
        _tell(found)
    if args.bundle:
        print(f"written: {args.bundle}", file=sys.stderr)
    return 0 if all(finding.ok for finding in found) else 1


def _tell(found: Sequence[Finding]) -> None:
    for finding in found:
        level = f"{finding.level:<4}"
        print(show.coloured(level, _COLOURS[finding.level]) + str(finding).removeprefix(level))


async def _everything(programs: Path, bundle: str | None) -> list[Finding]:
    from juniperd.doctor import rounds
    from juniperd.doctor.laptop import Laptop

    laptop = Laptop(environ=os.environ, home=Path.home(), programs=programs, ask=_ask, clock=time.time)
    progress = _Progress(rounds.CHECKS)
    try:
        found = await rounds.visit(laptop, done=progress.done)
        if bundle is not None:
            await _write(Path(bundle), laptop, found)
        return found
    finally:
        progress.end()
        await laptop.close()


def _ask(verb: str, parameters: Mapping[str, object]) -> connection.Event:
    return connection.result(verb, parameters, timeout=PATIENCE)


async def _write(path: Path, laptop: Laptop, found: Sequence[Finding]) -> None:
    from juniperd.doctor import bundle
    from juniperd.errors import JuniperError

    try:
        status = await laptop.ask("status")
    except JuniperError:
        status = {}
    bundle.write(path, bundle.document(laptop, found, status))


class _Progress:
    """What is still being looked at, on a terminal alone; the line goes when all is done."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self._left = list(names)
        self._wanted = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._show()

    def done(self, name: str) -> None:
        """One less."""
        self._left.remove(name)
        self._show()

    def end(self) -> None:
        """Take the line away."""
        if self._wanted:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _show(self) -> None:
        if self._wanted and self._left:
            print(f"\r\033[Klooking at {self._left[0]}", end="", file=sys.stderr, flush=True)


def _kubectl() -> list[Finding]:
    from juniperd.doctor import kubectl

    return [*asyncio.run(_issuers()), *kubectl.checks(os.environ, Path.home())]


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
