"""Who is signed in at each issuer, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator

from juniperd.doctor.finding import Finding
from juniperd.doctor.laptop import Event, Laptop

_CURES = {"locked": "run: juniper unlock", "keyring-locked": "unlock your keyring, then try again"}


async def checks(laptop: Laptop) -> AsyncIterator[Finding]:
    """One finding for each sign-in that the agent knows."""
    for issuer, said in (await laptop.sign_ins()).items():
        yield judged(issuer, said)


def judged(issuer: str, said: Event) -> Finding:
    """One sign-in."""
    check, state = f"sign-in {issuer}", str(said.get("state"))
    if state != "signed-in":
        why = f" ({said['reason']})" if said.get("reason") else ""
        return Finding(check, f"{state.replace('-', ' ')}{why}", _CURES.get(state, "run: juniper login"))
    if said.get("warning"):
        return Finding.of_line(check, str(said["warning"]).replace(", then run:", "; run:"))
    left = said.get("seconds_left")
    ends = f"ends in {left / 3600:.1f} h by {said.get('ends_by')}" if isinstance(left, int) else "has no known end"
    return Finding(check, f"signed in, {ends}")
