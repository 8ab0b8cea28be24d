"""Each relying party's trust, by a dry exchange: one scope, traded by the agent and kept by nobody.

A registry's or Git's login would be minted for it, so there only the door is knocked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from juniperd.doctor.finding import Finding, note
from juniperd.doctor.laptop import Held, Laptop
from juniperd.errors import JuniperError
from juniperd.model import Kind

DOORS = {
    Kind.REGISTRY: "https://{host}/v2/",
    Kind.GIT: "https://{host}/{project}.git/info/refs?service=git-upload-pack",
}
"""What a client asks first, of which the answer names the realm to sign in at (OCI distribution; gitprotocol-http(5))."""


async def checks(laptop: Laptop) -> AsyncIterator[Finding]:
    """One finding for each relying party of which a scope is held, all looked at side by side."""
    parties: dict[tuple[str, str, str], list[Held]] = {}
    for one in await laptop.held():
        parties.setdefault((one.issuer, str(one.target.get("relying_party")), one.kind), []).append(one)
    for finding in await asyncio.gather(*(_party(laptop, held) for held in parties.values())):
        yield finding


async def _party(laptop: Laptop, held: list[Held]) -> Finding:
    """One party, by the first scope there that is awake."""
    awake = next((one for one in held if not one.asleep), None)
    check = f"target {held[0].target.get('relying_party')}"
    try:
        if held[0].kind in DOORS:
            return await _knocked(laptop, check, held[0])
        if awake is None:
            return note(check, f"{held[0].scope} is asleep, not tried; a debugging session wakes it")
        return await _traded(laptop, check, awake)
    except JuniperError as error:
        return Finding.of_error(check, error)


async def _traded(laptop: Laptop, check: str, one: Held) -> Finding:
    await laptop.ask(
        "probe", issuer=one.issuer, scope=one.scope, kind=one.kind, relying_party=one.target["relying_party"]
    )
    return Finding(check, f"{_outcome(one)} ({one.scope})")


def _outcome(one: Held) -> str:
    """What has been shown by an exchange that went well."""
    if one.kind == Kind.AWS:
        return "STS trades the scope's token for its role"
    if one.kind == Kind.GOOGLE:
        return "Google trades the scope's token for an access token"
    signed = "the scope's role signs a token for it" if one.target.get("eks") else "the issuer signs a token for it"
    signed = "the scope's Google access token is its token" if one.target.get("gke") else signed
    return f"{signed}; whether it is taken there says juniper doctor kubectl" if one.kind == Kind.KUBERNETES else signed


async def _knocked(laptop: Laptop, check: str, one: Held) -> Finding:
    kind, host = Kind(one.kind), str(one.target.get("host"))
    answer = await laptop.get(DOORS[kind].format(host=host, project=one.project))
    realm = next((v for k, v in answer.headers.items() if k.lower() == "www-authenticate"), "")
    if answer.status == 200 or (answer.status == 401 and realm):
        return Finding(check, f"{host} answers, and asks for a login")
    told = f"{host} answered status {answer.status} where a {kind} server asks for a login"
    return Finding(check, told, "try again; if it stays so, ask whoever owns the policy")
