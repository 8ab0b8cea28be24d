"""The issuer and its identity provider, as the agent meets them: what they say of themselves, and how long they may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping

from juniperd.address import host_of
from juniperd.config import IssuerEntry
from juniperd.doctor import issuer as published
from juniperd.doctor.finding import Finding, note
from juniperd.doctor.laptop import WITHIN, Laptop
from juniperd.errors import JuniperError, UpstreamAnswer
from juniperd.identity import Provider
from juniperd.issuer_answers import Directory

SOON = 14 * 86_400.0
"""Seconds before its end at which a certificate should have been renewed by whatever renews it."""
ADMINISTRATOR = "ask whoever runs the issuer"
UNKNOWN = {
    "entra": "whether Conditional Access blocks device code cannot be known before a sign-in",
    "okta": "whether the application may use the device grant cannot be known before a sign-in",
}
"""What a provider's metadata does not tell, by the identity's kind."""


async def issuers(laptop: Laptop) -> AsyncIterator[Finding]:
    """Each issuer: its keys as clusters see them, and what it asks of agents."""
    for entry in laptop.issuers.values():
        silent = False
        async for finding in published.checks(entry.name, entry.url, laptop.http, clock=laptop.clock, within=WITHIN):
            silent |= finding.check == f"issuer {entry.name}" and not finding.ok
            yield finding
        if silent:
            continue
        async for finding in _certificate(laptop, entry):
            yield finding
        directory = await _directory(laptop, entry)
        if isinstance(directory, Finding):
            yield directory
        else:
            yield Finding(f"issuer {entry.name}", f"serves agents from {directory.oldest_agent} on")


async def _directory(laptop: Laptop, entry: IssuerEntry) -> Directory | Finding:
    check = f"issuer {entry.name}"
    try:
        async with asyncio.timeout(WITHIN):
            return await laptop.issuer(entry).directory()
    except TimeoutError:
        return Finding(check, f"did not say within {WITHIN:g} s what it is", "check your VPN, then try again")
    except JuniperError as error:
        return Finding.of_error(check, error)


async def _certificate(laptop: Laptop, entry: IssuerEntry) -> AsyncIterator[Finding]:
    try:
        ends_at = await laptop.http.certificate_ends(entry.url, timeout=WITHIN)
    except JuniperError:
        return  # that it does not answer, or is not trusted, is told already
    if ends_at is not None:
        yield certificate(entry.name, ends_at - laptop.clock())


def certificate(name: str, left: float) -> Finding:
    """The end of an issuer's certificate, ``left`` seconds from now."""
    check, days = f"certificate {name}", left / 86_400
    if left < SOON:
        return Finding(check, f"ends in {days:.0f} days", f"{ADMINISTRATOR} to renew it")
    return Finding(check, f"counts for another {days:.0f} days")


async def providers(laptop: Laptop) -> AsyncIterator[Finding]:
    """The identity provider of each issuer."""
    for entry in laptop.issuers.values():
        check = f"identity provider {host_of(entry.idp)}"
        try:
            metadata = await _metadata(laptop, entry.idp)
        except JuniperError as error:
            yield Finding.of_error(check, error)
            continue
        directory = await _directory(laptop, entry)
        found = directory.providers if isinstance(directory, Directory) else ()
        ours = next((one for one in found if one.issuer == entry.idp), None)
        for finding in judged(check, entry.idp, metadata, ours):
            yield finding


async def _metadata(laptop: Laptop, idp: str) -> Mapping[str, object]:
    answer = await laptop.get(f"{idp.rstrip('/')}/.well-known/openid-configuration")
    document = answer.json() if answer.status == 200 else None
    if not isinstance(document, Mapping):
        msg = f"{host_of(idp)} answered status {answer.status} for its metadata"
        raise UpstreamAnswer(msg, ADMINISTRATOR)
    return document


def judged(check: str, idp: str, metadata: Mapping[str, object], ours: Provider | None) -> Iterator[Finding]:
    """What a provider's metadata lets us foresee of the next sign-in."""
    if metadata.get("issuer") != idp:
        yield Finding(check, f"calls itself {metadata.get('issuer')}", f"{ADMINISTRATOR} to mend the identity's issuer")
        return
    yield Finding(check, "answers")
    if not metadata.get("device_authorization_endpoint"):
        if ours is not None and ours.flow == "device":
            yield Finding(check, "offers no device flow", "sign in by browser: juniper login --browser")
        else:
            yield note(check, "offers no device flow, so a sign-in needs a browser on this machine")
    elif ours is not None and ours.kind in UNKNOWN:
        yield note(check, UNKNOWN[ours.kind])
