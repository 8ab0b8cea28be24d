"""The issuer as a cluster sees it: discovery and keys over https, how long the keys may be kept, whose clock is wrong."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping

from juniperd.doctor.finding import Finding
from juniperd.errors import JuniperError, UpstreamAnswer
from juniperd.http import TIMEOUT, Answer, Http
from juniperd.model import Clock
from juniperd.skew import ClockSkew

PUBLISHED_AHEAD = 600
"""Seconds between the publication of an issuer's key and its first signature."""
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=([0-9]{1,10})(?![0-9])", re.IGNORECASE)


async def checks(name: str, url: str, http: Http, *, clock: Clock, within: float = TIMEOUT) -> AsyncIterator[Finding]:
    """One issuer of this laptop; it has ``within`` seconds for each answer."""
    check, skew = f"issuer {name}", ClockSkew(clock)
    try:
        found = await _asked(http, f"{url}/.well-known/openid-configuration", skew, clock, within)
        document = found.json()
        said = document if isinstance(document, Mapping) else {}
        if said.get("issuer") != url:
            yield Finding(
                check, f"{url} calls itself {said.get('issuer')}", "ask whoever runs the issuer to mend its url"
            )
            return
        keys = await _asked(http, str(said.get("jwks_uri")), skew, clock, within)
    except JuniperError as error:
        yield Finding.of_error(check, error)
        return
    yield Finding(check, f"answers at {url}, with a certificate that is trusted here")
    yield clock_of(skew)
    yield key_age(name, keys.headers)


async def _asked(http: Http, url: str, skew: ClockSkew, clock: Clock, within: float) -> Answer:
    asked_at = clock()
    answer = await http.request("GET", url, timeout=within)
    skew.observe(answer.date, asked_at=asked_at)
    if answer.status != 200:
        msg = f"{url} answered status {answer.status}"
        raise UpstreamAnswer(msg, "ask whoever runs the issuer")
    return answer


def clock_of(skew: ClockSkew) -> Finding:
    """This machine's clock against the issuer's."""
    if skew.complaint is not None:
        return Finding("clock", skew.complaint, skew.remedy)
    return Finding("clock", f"within {skew.seconds:+.0f} s of the issuer's")


def key_age(name: str, headers: Mapping[str, str]) -> Finding:
    """Whether a cluster has a new key before the issuer signs with it."""
    check = f"keys of {name}"
    stated = _MAX_AGE.search(next((v for k, v in headers.items() if k.lower() == "cache-control"), ""))
    seconds = int(stated[1]) if stated else 0
    if seconds > PUBLISHED_AHEAD:
        told = f"may be kept {seconds} s, but a new key signs {PUBLISHED_AHEAD} s after it is published"
        return Finding(check, told, "ask whoever serves the issuer's jwks for Cache-Control: max-age=300")
    return Finding(check, f"may be kept {seconds} s, and a new key is published {PUBLISHED_AHEAD} s ahead")
