"""Where the sign-in rests, and how long the keyring takes: asked through the agent, which alone reads what lies there."""

from __future__ import annotations

from collections.abc import AsyncIterator

from juniperd.doctor.finding import Finding, note
from juniperd.doctor.laptop import Laptop
from juniperd.errors import AgentMissing, JuniperError

SLOW = 1.0
"""Seconds a keyring may take without being felt: a tool waits for it after each start of the agent."""
UNLOCK = 'unlock your keyring, or set [store] kind = "memory"'


async def checks(laptop: Laptop) -> AsyncIterator[Finding]:
    """One finding."""
    if laptop.config is None:
        return
    if laptop.config.store == "memory":
        yield note("keyring", "sign-ins are kept in memory only, as configured")
        return
    try:
        said = await laptop.ask("keyring")
    except AgentMissing:
        return
    except JuniperError as error:
        yield Finding.of_error("keyring", error)
        return
    yield judged(str(said.get("problem") or ""), float(str(said.get("seconds", 0.0))))


def judged(problem: str, seconds: float) -> Finding:
    """What the agent's reading of its keyring comes to."""
    if problem and "no usable keyring" in problem:
        return note("keyring", f"{problem}; a sign-in ends with the agent")
    if problem:
        return Finding.of_line("keyring", problem) if "; " in problem else Finding("keyring", problem, UNLOCK)
    if seconds > SLOW:
        told = f"it took {seconds:.1f} s to answer, so tools wait after each start of the agent"
        return Finding("keyring", told, UNLOCK)
    return Finding("keyring", f"it answers within {seconds * 1000:.0f} ms")
