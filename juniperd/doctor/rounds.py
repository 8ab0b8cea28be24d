"""All checks side by side, each with a limit of its own; what they found comes in the order in which it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from juniperd.doctor import (
    agent,
    aws,
    clock,
    disk,
    docker,
    gcloud,
    git,
    helpers,
    keyring,
    kubectl,
    link,
    network,
    servers,
    sign_in,
    targets,
)
from juniperd.doctor.finding import Finding
from juniperd.doctor.laptop import Laptop
from juniperd.errors import JuniperError

Check = Callable[[Laptop], AsyncIterator[Finding]]
LIMIT = 8.0
"""Seconds for one check: what is in order takes one or two, and a person waits for the slowest."""
CHECKS: Mapping[str, Check] = {
    "configuration": agent.configuration,
    "agent": agent.checks,
    "helpers": helpers.checks,
    "disk": disk.checks,
    "keyring": keyring.checks,
    "network": network.checks,
    "issuer": servers.issuers,
    "identity provider": servers.providers,
    "sign-in": sign_in.checks,
    "link": link.checks,
    "targets": targets.checks,
    "aws": aws.checks,
    "gcloud": gcloud.checks,
    "kubectl": kubectl.settings,
    "docker": docker.checks,
    "git": git.checks,
}
"""What is looked at, as it is called while somebody waits for it."""


async def visit(laptop: Laptop, *, done: Callable[[str], None] = lambda _name: None) -> list[Finding]:
    """Everything that is found; ``done`` hears of each check that has ended. Clocks are compared at the end."""

    async def one(name: str, check: Check) -> list[Finding]:
        found = await limited(name, check, laptop)
        done(name)
        return found

    rows = await asyncio.gather(*(one(name, check) for name, check in CHECKS.items()))
    return [*(finding for row in rows for finding in row), *clock.checks(laptop)]


async def limited(name: str, check: Check, laptop: Laptop, *, limit: float = LIMIT) -> list[Finding]:
    """What one check found within its time; that it had too little is a finding too."""
    found: list[Finding] = []
    try:
        async with asyncio.timeout(limit):
            async for finding in check(laptop):
                found.append(finding)  # noqa: PERF401 - what came before the time was over counts
    except TimeoutError:
        found.append(Finding(name, f"not done after {limit:g} s", "try again; if it stays so, run: juniper status"))
    except JuniperError as error:
        found.append(Finding.of_error(name, error))
    return found
