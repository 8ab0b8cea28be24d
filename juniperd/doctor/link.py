"""Whether the issuer knows the sign-in as somebody at GitLab, and what that person holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from juniperd.doctor.finding import Finding, note
from juniperd.doctor.laptop import Event, Laptop
from juniperd.errors import JuniperError, LoginRequired
from juniperd.issuer_answers import objects


async def checks(laptop: Laptop) -> AsyncIterator[Finding]:
    """One finding for each issuer at which somebody is signed in."""
    for issuer in laptop.issuers:
        try:
            catalogue = await laptop.catalogue(issuer)
        except LoginRequired:
            continue
        except JuniperError as error:
            said = Finding.of_error(f"link {issuer}", error)
            yield replace(said, text=f"the issuer shows nothing of what you hold: {said.text}")
            continue
        yield _judged(issuer, catalogue)


def _judged(issuer: str, catalogue: Event) -> Finding:
    check, user = f"link {issuer}", catalogue.get("user")
    login = user.get("login") if isinstance(user, dict) else None
    rows = objects(catalogue.get("scopes"))
    held = sum(bool(row.get("held")) for row in rows)
    told = f"linked to {login} at GitLab, who holds {held} of {len(rows)} scopes"
    return Finding(check, told) if held else note(check, f"{told}; juniper scopes says why")
