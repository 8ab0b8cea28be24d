"""The browser flow as a generator: authorization code with PKCE to a listener on loopback (RFC 8252, 7636, 9207).

No network, no clock, no dice in here, as in the device flow::

    flow = browser_flow(…)
    step = next(flow)            # Listen()      → send the address that listens
    step = flow.send(address)    # Open(url)     → send None
    step = flow.send(None)       # Await()       → send the parameters that came back, None where none did in time
    step = flow.send(came)       # Ask(url, …)   → send an Answered
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from juniperd.address import host_of
from juniperd.errors import LoginDeclined, UpstreamAnswer, UpstreamUnreachable
from juniperd.identity import ErrorRead
from juniperd.identity.device import Answered, Ask, standard
from juniperd.jose import b64url
from juniperd.model import Secret

LIMIT = 300.0
"""Seconds a person has: enough for a second factor, too little for a forgotten tab to sign anybody in."""
AGAIN = "run: juniper login --browser"


@dataclass(frozen=True, slots=True)
class BrowserClient:
    """Who asks, where, and the provider's words for no."""

    issuer: str
    authorize_url: str
    token_url: str
    client_id: str
    scopes: tuple[str, ...]
    answers_with_issuer: bool
    declined: frozenset[str]
    error: Callable[[object, str], ErrorRead] = standard
    consent: bool = False
    """Whether the person is asked for offline access each time (OpenID Connect Core section 11)."""


@dataclass(frozen=True, slots=True)
class Once:
    """What holds for one run alone: ``state`` and ``verifier`` are thrown for it, ``nonce`` names issuer and key."""

    state: str
    verifier: Secret
    nonce: str
    max_age: float


@dataclass(frozen=True, slots=True)
class Listen:
    """Open the listener."""


@dataclass(frozen=True, slots=True)
class Open:
    """Lead the person to this page."""

    url: str


@dataclass(frozen=True, slots=True)
class Await:
    """Let the person's browser come back; what is taken to carry the state of this run."""


Step = Listen | Open | Await | Ask
Flow = Generator[Step, Any, Mapping[str, object]]
"""What is sent in fits the step that came out."""


def bound_nonce(issuer_url: str, thumbprint: str) -> str:
    """What ties a browser sign-in to one Juniper issuer and one key; the issuer's pins compare it."""
    return b64url(hashlib.sha256((issuer_url + thumbprint).encode()).digest())


def challenge(verifier: Secret) -> str:
    """RFC 7636 section 4.2, method S256."""
    return b64url(hashlib.sha256(verifier.reveal().encode()).digest())


def browser_flow(client: BrowserClient, once: Once) -> Flow:
    """Ends with the token endpoint's answer; raises :class:`LoginDeclined` or an error of the upstream."""
    address: str = yield Listen()
    yield Open(authorization_url(client, once, address))
    came: Mapping[str, str] | None = yield Await()
    if came is None:
        msg = "nobody signed in with the browser in time"
        raise LoginDeclined(msg, AGAIN)
    form = {
        "grant_type": "authorization_code",
        "code": _code(client, came),
        "redirect_uri": address,
        "client_id": client.client_id,
        "code_verifier": once.verifier.reveal(),
    }
    # Asked once: a code that comes twice counts as stolen, and would end the sign-in it made.
    answer: Answered = yield Ask(client.token_url, form)
    return _granted(client, answer)


def authorization_url(client: BrowserClient, once: Once, address: str) -> str:
    """OpenID Connect Core section 3.1.2.1."""
    query = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": address,
        "scope": " ".join(client.scopes),
        "state": once.state,
        "nonce": once.nonce,
        "max_age": str(int(once.max_age)),
        "code_challenge": challenge(once.verifier),
        "code_challenge_method": "S256",
    }
    if client.consent and "offline_access" in client.scopes:
        query["prompt"] = "consent"
    parts = urlsplit(client.authorize_url)
    if parts.scheme not in {"https", "http"} or not parts.hostname or not client.authorize_url.isprintable():
        msg = "the identity provider names no usable sign-in page"
        raise UpstreamAnswer(msg)
    # RFC 6749 section 3.1: a query that the endpoint has is kept.
    joined = "&".join(part for part in (parts.query, urlencode(query)) if part)
    return parts._replace(query=joined, fragment="").geturl()


def _code(client: BrowserClient, came: Mapping[str, str]) -> str:
    named = came.get("iss")
    # Before anything else is believed, an error too (RFC 9207 section 2.4).
    if (named is None and client.answers_with_issuer) or named not in {None, client.issuer}:
        msg = "the browser came back from another identity provider than it was sent to"
        raise LoginDeclined(msg, f"close its tabs, then {AGAIN}")
    if (error := came.get("error")) is not None:
        raise _refusal(client, dict(came), "no reason", declined=error in client.declined)
    if not came.get("code"):
        msg = "the browser came back without a code"
        raise LoginDeclined(msg, AGAIN)
    return came["code"]


def _refusal(client: BrowserClient, body: object, fallback: str, *, declined: bool = False) -> LoginDeclined:
    read = client.error(body, fallback)
    # What the provider knows of its own codes comes first, as in the device flow.
    if read.problem is None and declined:
        return LoginDeclined("the sign-in was declined in the browser", AGAIN)
    problem = read.problem or "the identity provider refused the sign-in"
    return LoginDeclined(f"{problem} ({read.said})", read.cure or AGAIN)


def _granted(client: BrowserClient, answer: Answered) -> Mapping[str, object]:
    if answer.status == 200 and isinstance(answer.body, dict):
        return answer.body
    if answer.status == 0:
        msg = f"the identity provider {host_of(client.token_url)} cannot be reached"
        raise UpstreamUnreachable(msg, f"check your network, then {AGAIN}")
    raise _refusal(client, answer.body, f"status {answer.status}")
