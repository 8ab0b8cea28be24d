"""The first step of ``juniper setup URL``: the issuer is found, shown to the person, and put into ``juniper.toml``."""

from __future__ import annotations

import asyncio
import os
import sys

from juniperd import config, paths
from juniperd.address import host_of
from juniperd.cli import setup_plan
from juniperd.cli.setup_plan import Change
from juniperd.config import Config, Network
from juniperd.errors import ConfigError, UsageError, one_line
from juniperd.http import Http
from juniperd.setup import files, issuer, trusted
from juniperd.setup.issuer import Found
from juniperd.setup.trusted import Pin


def url_of(what: str | None, pins: tuple[Pin, ...] | None) -> str:
    """The issuer that is meant: the one that is named, else the only one that the fleet trusts."""
    if what is not None:
        return what
    if not pins:
        msg = "no issuer is named"
        raise UsageError(msg, "run: juniper setup https://your-issuer")
    if len(pins) > 1:
        msg = f"{trusted.PATH} trusts several issuers"
        raise UsageError(msg, "run: " + ", or: ".join(f"juniper setup {pin.url}" for pin in pins))
    return pins[0].url


def check_host(url: str, expected: str | None, *, yes: bool, pinned: bool) -> None:
    """Refuse a URL that leads elsewhere, and one that nobody has confirmed: a person, a second naming, or the fleet."""
    host = host_of(url)
    if expected is not None and host != expected:
        msg = f"the URL leads to {one_line(host, 200)}, not to {one_line(expected, 200)}"
        raise ConfigError(msg, "check the URL you were given")
    if yes and expected is None and not pinned:
        msg = "--yes asks nothing, so the host must be said twice"
        raise UsageError(msg, f"add: --issuer-host {one_line(host, 200)}")


def plan(url: str, pin: Pin | None) -> Change:
    """What the issuer says of itself is shown; answers ``juniper.toml`` with it."""
    path = paths.config_path()
    old = files.read(path)
    before = config.load(path, needs_issuer=False) if old.strip() else None
    network = before.network if before else issuer.shell_network(os.environ)
    found = asyncio.run(_discover(url, network, sandbox=before is not None and before.sandbox))
    if pin is not None and pin.idp and found.idp.rstrip("/") != pin.idp.rstrip("/"):
        msg = f"{host_of(found.url)} names {one_line(found.idp, 200)}, and {trusted.PATH} says {pin.idp}"
        raise ConfigError(msg, "tell whoever runs the issuer; nothing was written")
    _show(found, network)
    name = pin.name if pin is not None else ""
    return setup_plan.change(path, old, issuer.with_issuer(old, found, network, name=name))


def without(url: str) -> Change:
    """``juniper.toml`` without the issuer."""
    path = paths.config_path()
    old = files.read(path)
    if old.strip():
        config.load(path, needs_issuer=False)
    new = issuer.without_issuer(old, url)
    before = files.before(path)
    # A file that said its version and nothing more looks, with an issuer in it, like one that we made.
    if old and not new and before is not None and before.split() == ["version", "=", str(config.VERSION)]:
        new = before
    return setup_plan.change(path, old, new)


def configured() -> Config | None:
    """What ``juniper.toml`` says; ``None`` where there is none yet."""
    path = paths.config_path()
    return config.load(path, needs_issuer=False) if files.read(path).strip() else None


def warn_of_others(pins: tuple[Pin, ...] | None) -> None:
    """Name each issuer of ``juniper.toml`` that the fleet does not trust."""
    current = configured() if pins is not None else None
    trusts = {pin.url for pin in pins or ()}
    for entry in current.issuers.values() if current is not None else ():
        if entry.url not in trusts:
            cure = f"run: juniper setup {entry.url} --undo"
            print(f"warning: juniper.toml names {entry.url}, which {trusted.PATH} does not; {cure}", file=sys.stderr)


async def _discover(url: str, network: Network, *, sandbox: bool) -> Found:
    http = Http(ca_file=network.ca_file, proxy=network.proxy, no_proxy=network.no_proxy, plain_loopback=sandbox)
    async with http:
        return await issuer.discover(url, http, sandbox=sandbox)


def _show(found: Found, network: Network) -> None:
    # The issuer is still a stranger: its words may not move the cursor over the lines the person decides by.
    print(one_line(f"issuer            {found.url}"))
    print(one_line(f"identity provider {one_line(found.idp_name, 60)} ({found.idp}), {one_line(found.flow, 20)} flow"))
    print(one_line(f"hosts             {', '.join(found.hosts)}"))
    if network.proxy:
        print(f"proxy             {network.proxy}")
    if network.ca_file:
        print(f"CA file           {network.ca_file}")
    for warning in found.warnings:
        print(f"warning: {one_line(warning)}", file=sys.stderr)
