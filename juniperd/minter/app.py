"""The minter's composition root: from ``minter.toml`` to one listener, and from a signal to a clean end."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from juniperd import memory
from juniperd.errors import JuniperError
from juniperd.http import Http
from juniperd.jwks import KeySets
from juniperd.listener import listening
from juniperd.minter import config as configuration
from juniperd.minter.config import MinterConfig
from juniperd.minter.gitlab import Gitlab
from juniperd.minter.ledger import Ledger
from juniperd.minter.mint import Mint
from juniperd.minter.rules import Rules
from juniperd.minter.sweep import Sweep
from juniperd.minter.web import Desk
from juniperd.model import Clock
from juniperd.settings import Listen

MOST = 256
MOST_EACH = 64
"""Connections in all and of one address: an issuer needs few, and nobody else needs any."""


@dataclass(slots=True)
class Minter:
    """A running minter, and where it listens."""

    mint: Mint
    sweep: Sweep
    address: Listen


@asynccontextmanager
async def running(
    config: MinterConfig, *, clock: Clock = time.time, steady: Clock = time.monotonic
) -> AsyncIterator[Minter]:
    """A minter that listens from here to the end of the block, and then finishes what is under way."""
    async with AsyncExitStack() as stack:
        token, tls = config.gitlab.token(), config.tls.context()
        ledger = Ledger(config.state, steady=steady)
        stack.callback(ledger.close)
        http = await stack.enter_async_context(
            Http(
                ca_file=config.network.ca_file,
                proxy=config.network.proxy,
                no_proxy=config.network.no_proxy,
                plain_loopback=config.sandbox,
            )
        )
        gitlab = Gitlab(http, url=config.gitlab.url, token=token)
        mint = Mint(Rules(config.projects, config.scopes), ledger, gitlab, clock=clock)
        stack.push_async_callback(mint.finish)
        sweep = Sweep(mint, ledger, gitlab, projects=config.projects, clock=clock)
        desk = Desk(mint, KeySets(http, clock=clock), issuer=config.issuer, clock=clock, minted=sweep.look)
        address = await listening(stack, desk.app(), config.listen, tls=tls, most=MOST, most_each=MOST_EACH)
        yield Minter(mint, sweep, address)


async def serve(config: MinterConfig) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    async with running(config) as minter:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        sweeping, stopping = asyncio.create_task(minter.sweep.run()), asyncio.create_task(stop.wait())
        _say(f"listening on {minter.address}")
        # A minter that no longer sweeps must not go on minting.
        done, _ = await asyncio.wait({sweeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        sweeping.cancel()
        stopping.cancel()
    for task in done:
        task.result()


def check(path: Path) -> str:
    """What a minter of this configuration would do; nothing is asked of anybody."""
    config = configuration.load(path)
    config.gitlab.token()
    config.tls.context()
    projects = ", ".join(map(str, sorted(config.projects)))
    return "\n".join(
        (
            f"obeys:    {config.issuer}",
            f"projects: {projects}",
            f"scopes:   {', '.join(sorted(config.scopes))}",
            f"gitlab:   {config.gitlab.url}",
            f"listens:  {config.listen}",
            f"ledger:   {config.state}",
        )
    )


def run(config_path: Path) -> int:
    """``juniper minter serve``: the exit status."""
    memory.keep_private()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="minter: %(message)s")
    try:
        asyncio.run(serve(configuration.load(config_path)))
    except JuniperError as error:
        _say(str(error))
        return error.exit_status
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"minter: {text}\n")
    sys.stderr.flush()
