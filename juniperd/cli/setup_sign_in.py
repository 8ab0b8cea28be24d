"""Whether what ``juniper setup`` is about to write can be known: somebody is signed in at every issuer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from juniperd.cli import connection, down, login, up
from juniperd.cli.setup_issuer import configured
from juniperd.errors import AgentMissing, JuniperError


def missing() -> list[str]:
    """The issuers of ``juniper.toml`` at which the agent has no sign-in; an agent that does not run is not started."""
    current, states = configured(), _states() or {}
    return [name for name in current.issuers if states.get(name) != "signed-in"] if current is not None else []


def is_configured(url: str) -> bool:
    """Whether ``juniper.toml`` names that issuer, which it does not while its set-up is only shown."""
    current = configured()
    return current is not None and url.rstrip("/") in {entry.url for entry in current.issuers.values()}


def is_outdated() -> bool:
    """Whether an agent runs that does not know every issuer of ``juniper.toml``."""
    current, states = configured(), _states()
    return current is not None and states is not None and not set(current.issuers) <= set(states)


def runs() -> bool:
    """Whether an agent answers."""
    return _states() is not None


def known() -> dict[str, str]:
    """Each sign-in that the agent has or may have, by its issuer; an agent keeps those that ``juniper.toml`` lost."""
    return {issuer: state for issuer, state in (_states() or {}).items() if state not in {"signed-out", "ended"}}


def offered(names: list[str], agreed: Callable[..., bool]) -> list[str]:
    """Those at which nobody is signed in after the person was asked; a sign-in that fails is said, and costs no more."""
    question = "sign in now, so that the tools can be set up?"
    if is_outdated():
        question = "start the agent anew, which ends its debugging sessions, and sign in?"
    print()
    if not agreed(question, yes=False):
        return names
    try:
        if is_outdated():
            down.run(argparse.Namespace())
        up.ensure_agent()
        for name in missing():
            login.run(_words(name))
    except JuniperError as error:
        print(f"juniper: {error}", file=sys.stderr)
    return missing()


def _words(issuer: str) -> argparse.Namespace:
    """``juniper login --issuer NAME``."""
    parser = argparse.ArgumentParser()
    login.register(parser)
    return parser.parse_args(["--issuer", issuer])


def _states() -> Mapping[str, str] | None:
    """How each issuer's sign-in stands; ``None`` without an agent."""
    try:
        rows = connection.result("status", timeout=5.0).get("sign_ins")
    except (AgentMissing, connection.AgentSaid):
        return None
    found = rows if isinstance(rows, list) else []
    return {str(row.get("issuer")): str(row.get("state")) for row in found if isinstance(row, Mapping)}
