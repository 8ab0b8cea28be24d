"""The issuer as a client of an OpenID provider: authorization code with PKCE, there and back in one browser.

RFC 6749 section 4.1, RFC 7636, RFC 9207, OpenID Connect Core section 3.1. Each trip is thrown anew and used once; who
comes back has signed in after it began.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from juniperd import jose
from juniperd.address import host_of, is_loopback
from juniperd.errors import ConfigError, JuniperError, TokenRejected, UpstreamAnswer, UpstreamError
from juniperd.http import Answer, Http
from juniperd.issuer.verdict import Refused
from juniperd.jose import LEEWAY, VerifiedClaims, b64url, person_profile
from juniperd.jwks import KeySets
from juniperd.model import Clock, Secret

AGAIN = "begin again"
_CODE = re.compile(r"[a-z_]{1,40}")
_DECLINED = frozenset({"access_denied", "authorization_declined", "consent_required", "interaction_required"})
_OUR_FAULT = frozenset({"invalid_client", "unauthorized_client", "invalid_scope", "unsupported_response_type"})


@dataclass(frozen=True, slots=True)
class Client:
    """The issuer as one provider knows it. ``ask`` are the parameters that make the person sign in anew."""

    issuer: str
    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    max_life: float
    ask: tuple[tuple[str, str], ...]
    secret: Callable[[], Secret] | None = None

    @property
    def host(self) -> str:
        """The provider as people are told of it."""
        return host_of(self.issuer)


@dataclass(frozen=True, slots=True)
class Trip:
    """One way to a provider and back: what was thrown for it alone, and when it began."""

    client: Client
    state: str
    nonce: str
    verifier: Secret
    began: float


def dice() -> str:
    """256 bits that nobody guesses."""
    return secrets.token_urlsafe(32)


class CodeFlow:
    """Sends browsers to providers and believes what they bring back only as far as it is proven."""

    def __init__(
        self, http: Http, key_sets: KeySets, *, clock: Clock, sandbox: bool, throw: Callable[[], str] = dice
    ) -> None:
        self._http = http
        self._key_sets = key_sets
        self._clock = clock
        self._sandbox = sandbox
        self._throw = throw

    async def start(self, client: Client) -> tuple[Trip, str] | Refused:
        """A new trip, and the address that it leads to."""
        try:
            metadata = await self._key_sets.metadata(client.issuer)
        except (UpstreamError, TokenRejected) as error:
            return _late(error)
        page = metadata.get("authorization_endpoint")
        if not isinstance(page, str) or not self._is_page(page):
            text = f"{client.host} names no usable sign-in page; ask who runs the issuer"
            return Refused("1", "provider_unusable", text)
        trip = Trip(client, self._throw(), self._throw(), Secret(self._throw()), self._clock())
        return trip, _address(page, trip)

    def _is_page(self, url: str) -> bool:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and self._sandbox and is_loopback(url)
        return url.isprintable() and bool(parts.hostname) and (parts.scheme == "https" or plain)

    async def finish(self, trip: Trip, came: Mapping[str, str]) -> VerifiedClaims | Refused:
        """The claims of who came back, each rule of the trip kept; ``came`` carried the trip's state already."""
        try:
            metadata = await self._key_sets.metadata(trip.client.issuer)
            code = _code(trip.client, metadata, came)
            if isinstance(code, Refused):
                return code
            token = await self._redeem(trip, metadata, code)
            if isinstance(token, Refused):
                return token
            client = trip.client
            profile = person_profile(client.issuer, frozenset({client.client_id}), client.max_life)
            claims = await self._key_sets.verify(token, profile)
            return _unfit(trip, claims, self._clock()) or claims
        except ConfigError:
            return Refused("1", "issuer_unready", "the issuer lacks its client secret; ask who runs the issuer")
        except UpstreamError as error:
            return _late(error)
        except TokenRejected as error:
            return Refused(
                "1", error.rule, f"{trip.client.host} sent a token that does not count: {error.message}; {AGAIN}"
            )

    async def _redeem(self, trip: Trip, metadata: Mapping[str, object], code: str) -> str | Refused:
        """Asked once: a code that comes twice counts as stolen."""
        client, url = trip.client, metadata.get("token_endpoint")
        if not isinstance(url, str):
            msg = f"{client.host} names no token endpoint"
            raise UpstreamAnswer(msg, host=client.host)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": client.redirect_uri,
            "code_verifier": trip.verifier.reveal(),
        }
        headers: dict[str, str] = {}
        if client.secret is None:
            form["client_id"] = client.client_id
        else:
            headers["Authorization"] = _basic(client.client_id, client.secret())
        return _id_token(client, await self._http.request("POST", url, headers=headers, form=form))


def _address(page: str, trip: Trip) -> str:
    """OpenID Connect Core section 3.1.2.1; a query that the endpoint has is kept (RFC 6749 section 3.1)."""
    query = {
        "response_type": "code",
        "client_id": trip.client.client_id,
        "redirect_uri": trip.client.redirect_uri,
        "scope": " ".join(trip.client.scopes),
        "state": trip.state,
        "nonce": trip.nonce,
        "code_challenge": b64url(hashlib.sha256(trip.verifier.reveal().encode()).digest()),
        "code_challenge_method": "S256",
        **dict(trip.client.ask),
    }
    parts = urlsplit(page)
    joined = "&".join(part for part in (parts.query, urlencode(query)) if part)
    return parts._replace(query=joined, fragment="").geturl()


def _code(client: Client, metadata: Mapping[str, object], came: Mapping[str, str]) -> str | Refused:
    named = came.get("iss")
    names_itself = metadata.get("authorization_response_iss_parameter_supported") is True
    # Before anything else is believed, an error too (RFC 9207 section 2.4).
    if (named is None and names_itself) or named not in {None, client.issuer}:
        text = f"the browser came back from another provider than {client.host}; close its tabs and {AGAIN}"
        return Refused("1", "other_provider", text)
    if "error" in came:
        return _said_no(client, came["error"])
    if not came.get("code"):
        return Refused("1", "no_code", f"the browser came back from {client.host} without a code; {AGAIN}")
    return came["code"]


def _said_no(client: Client, error: object) -> Refused:
    """A provider's no; of its words only the code is repeated, and only where it looks like one."""
    word = error if isinstance(error, str) and _CODE.fullmatch(error) else "no reason"
    if word in _DECLINED:
        return Refused("1", "declined", f"the sign-in at {client.host} was declined; {AGAIN}")
    if word in _OUR_FAULT:
        text = f"{client.host} does not take the issuer as its client ({word}); ask who runs the issuer"
        return Refused("1", "client_refused", text)
    return Refused("1", "provider_refused", f"{client.host} refused the sign-in ({word}); {AGAIN}")


def _basic(client_id: str, secret: Secret) -> str:
    """RFC 6749 section 2.3.1: both encoded as in a form, before they are joined."""
    pair = f"{quote(client_id, safe='')}:{quote(secret.reveal(), safe='')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _id_token(client: Client, answer: Answer) -> str | Refused:
    if answer.status >= 500:
        msg = f"{client.host} answered status {answer.status}"
        raise UpstreamAnswer(msg, host=client.host)
    body = answer.json()
    said = body if isinstance(body, dict) else {}
    if answer.status != 200:
        return _said_no(client, said.get("error"))
    token = said.get("id_token")
    if not isinstance(token, str):
        return Refused("1", "no_id_token", f"{client.host} sent no ID token; ask who runs the issuer")
    return token


def _unfit(trip: Trip, claims: VerifiedClaims, now: float) -> Refused | None:
    """Whether the token is of another trip, or of a sign-in made before this one began."""
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), trip.nonce.encode()):
        return Refused("1", "nonce", f"the token from {trip.client.host} is of another sign-in; {AGAIN}")
    if "auth_time" not in claims:
        text = f"{trip.client.host} does not say when you signed in; ask its administrator for the claim auth_time"
        return Refused("1", "auth_time_missing", text)
    if not trip.began - LEEWAY <= jose.seconds(claims, "auth_time") <= now + LEEWAY:
        text = f"the sign-in at {trip.client.host} was made before; sign out there and {AGAIN}"
        return Refused("1", "sign_in_old", text)
    return None


def _late(error: JuniperError) -> Refused:
    return Refused("1", "provider_late", f"{error.message}; try again in a minute", passing=True)
