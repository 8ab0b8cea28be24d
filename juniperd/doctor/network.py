"""Proxy and private CAs: what the agent has of them, and what the shell says beside it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from juniperd.address import host_of
from juniperd.config import Network
from juniperd.doctor.finding import Finding, note
from juniperd.doctor.laptop import Laptop
from juniperd.setup.issuer import shell_network

SETTING = "[network] in juniper.toml"


async def checks(laptop: Laptop) -> AsyncIterator[Finding]:
    """The CA file, and where the shell goes another way."""
    if laptop.config is None:
        return
    network = laptop.network
    flaws = list(authorities(network.ca_file, now=laptop.clock())) if network.ca_file else []
    for finding in flaws:
        yield finding
    if not flaws:
        way = f"by proxy {host_of(network.proxy)}" if network.proxy else "without a proxy"
        trust = f"CAs of {network.ca_file}" if network.ca_file else "the system's CAs"
        yield Finding("network", f"{way}, with {trust}")
    for finding in beside(network, laptop.environ):
        yield finding


def authorities(path: Path, *, now: float) -> Iterator[Finding]:
    """What is wrong with a file of CAs; one that has ended is told where none is left that counts."""
    context, cure = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        "mend [network] ca_file, then run: juniper down; juniper up",
    )
    try:
        context.load_verify_locations(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        why = "is no file of certificates" if isinstance(error, ssl.SSLError) else "cannot be read"
        yield Finding("network", f"the CA file {path} {why}", cure)
        return
    ends = [ssl.cert_time_to_seconds(str(one["notAfter"])) for one in context.get_ca_certs() if "notAfter" in one]
    if ends and max(ends) <= now:
        yield Finding("network", f"each certificate in the CA file {path} has expired", cure)


def beside(network: Network, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Where the shell's own settings differ: the agent reads none of them, and that may be meant so."""
    shell = shell_network(environ)
    if shell.proxy and shell.proxy != network.proxy:
        ours = host_of(network.proxy) if network.proxy else "none"
        yield note("network", f"the shell's proxy is {host_of(shell.proxy)}, the agent's is {ours}: {SETTING}")
    if shell.proxy and network.proxy and set(shell.no_proxy) != set(network.no_proxy):
        yield note("network", f"NO_PROXY of the shell is not no_proxy of {SETTING}")
    if shell.ca_file and shell.ca_file != network.ca_file:
        ours = str(network.ca_file) if network.ca_file else "the system's"
        yield note("network", f"the shell trusts the CAs of {shell.ca_file}, the agent {ours}: {SETTING}")
