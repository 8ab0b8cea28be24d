"""Laptops to look at: real files, a private folder, and an agent of which only the answers are given."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from juniperd.doctor.finding import Finding
from juniperd.doctor.helpers import HELPERS
from juniperd.doctor.laptop import Laptop
from juniperd.errors import AgentMissing, JuniperError

TOML = """version = 1
sandbox = true
[issuer.team]
url = "{url}"
idp = "{idp}"
[store]
kind = "{store}"
"""
SIGNED_IN = {"issuer": "team", "state": "signed-in", "seconds_left": 7200, "ends_by": "sign_in_max_age"}
STATUS = {"agent": {}, "sign_ins": [SIGNED_IN]}


def row(name: str, *targets: Mapping[str, object], **more: object) -> dict[str, object]:
    """A scope of the catalogue, held unless told otherwise."""
    return {"name": name, "project": "shop/billing", "held": True, "targets": list(targets), **more}


def answers(*rows: Mapping[str, object], **more: object) -> dict[str, object]:
    """What an agent says whose person is signed in and holds these."""
    catalogue = {"issuers": {"team": {"user": {"id": "7", "login": "developer"}, "scopes": list(rows)}}}
    return {"status": STATUS, "catalogue": catalogue, **more}


def laptop(
    home: Path,
    said: Mapping[str, object] | None = None,
    *,
    toml: str | None = TOML,
    url: str = "http://127.0.0.1:1",
    store: str = "memory",
    ahead: float = 0.0,
    **environ: str,
) -> Laptop:
    """One with its home in ``home``; ``said`` are the agent's answers by verb, errors among them, or there is none."""
    programs = home / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("juniper", "juniperd", *HELPERS):
        program(programs / name)
    if toml is not None:
        (home / "juniper.toml").write_text(toml.format(url=url, idp=url, store=store))
    usual = {
        "PATH": str(programs),
        "JUNIPER_CONFIG": str(home / "juniper.toml"),
        "JUNIPER_SOCKET": str(home / "run" / "agent.sock"),
        "XDG_STATE_HOME": str(home / "state"),
    }

    def ask(verb: str, _parameters: Mapping[str, object]) -> Mapping[str, object]:
        if said is None:
            msg = "no agent is running"
            raise AgentMissing(msg)
        answer = said[verb]
        if isinstance(answer, JuniperError):
            raise answer
        assert isinstance(answer, Mapping)
        return answer

    return Laptop(
        environ={**usual, **environ}, home=home, programs=programs, ask=ask, clock=lambda: time.time() + ahead
    )


def program(path: Path) -> Path:
    """Something that can be run."""
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


async def look(check: Callable[[Laptop], AsyncIterator[Finding]], at: Laptop) -> list[Finding]:
    """What one check finds."""
    try:
        return [finding async for finding in check(at)]
    finally:
        await at.close()


def lines(found: list[Finding], level: str = "fix") -> list[str]:
    """Those of one level, as they are read."""
    return [str(one) for one in found if one.level == level]
