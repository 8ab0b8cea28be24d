"""An issued token becomes a Google access token: the Security Token Service, then, where named, a service account.

``POST /v1/token`` is RFC 8693 and takes no ``Authorization`` (Google Cloud, "Security Token Service API"); the token that
it answers either is the credential, or asks ``generateAccessToken`` of the IAM Service Account Credentials API for one.
Each exchange has connections of its own: the next one comes in an hour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from juniperd.address import host_of, is_loopback
from juniperd.errors import (
    ConfigError,
    ExchangeError,
    RelyingPartyRefused,
    RelyingPartyUnreachable,
    UpstreamAnswer,
    UpstreamError,
    one_line,
)
from juniperd.exchanges import Exchanged, ExchangeSettings, IssuedTokenExpired, Offline
from juniperd.freshness import Window
from juniperd.http import Answer, Http
from juniperd.model import BearerToken, IssuedToken, Kind, Secret, Target

KIND = Kind.GOOGLE
WINDOW = Window(renew_ahead=20 * 60.0, wait_below=15 * 60.0, margin=60.0)
"""Clusters and registries are made of it, so whoever renews theirs waits for a new one. An issued token of five minutes is
fresh for the first half of them."""
LONGEST = 3600.0
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
IAM = "https://www.googleapis.com/auth/iam"
"""All that the federated token may be used for where it only asks for another one."""
_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"
_PROVIDER = re.compile(
    r"//iam\.googleapis\.com/projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+"
)
_ACCOUNT = re.compile(r"[a-z0-9-]+@[a-z0-9.-]+\.iam\.gserviceaccount\.com")
_TOKEN = re.compile(r"[\x21-\x7e]{1,12288}")
_STS, _CREDENTIALS = "sts", "iamcredentials"


def make(settings: ExchangeSettings) -> GoogleExchange:
    """The exchange; nothing is opened before the first trade."""
    return GoogleExchange(WINDOW, settings)


@dataclass(frozen=True, slots=True)
class GoogleExchange(Offline):
    """Federated tokens, and those of service accounts."""

    settings: ExchangeSettings

    async def trade(self, issued: IssuedToken) -> Exchanged:
        """An access token that lives the scope's life, and an hour at most."""
        check_target(issued.target, allow=self.settings.loopback_endpoints)
        network = self.settings
        async with Http(
            ca_file=network.ca_file,
            proxy=network.proxy,
            no_proxy=network.no_proxy,
            plain_loopback=network.loopback_endpoints,
        ) as http:
            now = network.clock()
            found = await _federated(http, issued, now)
            if issued.target.service_account:
                found = await _impersonated(http, issued, found, now)
        token, ends_at = found
        return Exchanged(BearerToken(token), min(ends_at, now + LONGEST))


async def _federated(http: Http, issued: IssuedToken, now: float) -> tuple[Secret, float]:
    """The token of the pool's principal."""
    target = issued.target
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": target.audience,
        "scope": IAM if target.service_account else CLOUD_PLATFORM,
        "requested_token_type": f"{_TOKEN_TYPE}access_token",
        "subject_token": issued.token.reveal(),
        "subject_token_type": f"{_TOKEN_TYPE}jwt",
    }
    said = _read(await _post(http, f"{endpoint_of(target, _STS)}/v1/token", form=form), issued)
    token, seconds = said.get("access_token"), said.get("expires_in")
    usable = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < 2**31
    if not _is_token(token) or said.get("token_type") != "Bearer" or not usable:
        msg = f"Google's token service answered without an access token for {target.audience}"
        raise RelyingPartyRefused(msg, _NETWORK)
    return Secret(str(token)), now + float(str(seconds))


async def _impersonated(
    http: Http, issued: IssuedToken, federated: tuple[Secret, float], now: float
) -> tuple[Secret, float]:
    """The token of the service account, for which the pool's principal asks."""
    target = issued.target
    lifetime = int(min(target.ttl, LONGEST))
    answer = await _post(
        http,
        f"{endpoint_of(target, _CREDENTIALS)}/v1/projects/-/serviceAccounts/{target.service_account}:generateAccessToken",
        json={"scope": [CLOUD_PLATFORM], "lifetime": f"{lifetime}s"},
        headers={"Authorization": f"Bearer {federated[0].reveal()}"},
    )
    said = _read(answer, issued)
    token, ends_at = said.get("accessToken"), _moment(said.get("expireTime"))
    if not _is_token(token) or ends_at is None:
        msg = f"Google answered without an access token for {target.service_account}"
        raise RelyingPartyRefused(msg, _NETWORK)
    # Whatever the account's own limits are: the scope's life counts.
    return Secret(str(token)), min(ends_at, now + lifetime)


def _is_token(value: object) -> bool:
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def _moment(value: object) -> float | None:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found.timestamp() if found.tzinfo is not None else None


def endpoint_of(target: Target, service: str) -> str:
    """Where a service answers: neither a variable nor a file of the user's may choose it."""
    return target.endpoint or f"https://{service}.googleapis.com"


def check_target(target: Target, *, allow: bool) -> None:
    """Refuse a target without its names, or with an endpoint of the issuer's choice, but for the sandbox's on loopback."""
    account = target.service_account
    if not _PROVIDER.fullmatch(target.audience) or (account and not _ACCOUNT.fullmatch(account)):
        msg = f"the issuer named no workload identity provider or no usable account for {target.relying_party}"
        raise RelyingPartyRefused(msg, "ask whoever runs the issuer to run: juniper policy check")
    if target.endpoint and not (allow and is_loopback(target.endpoint)):
        msg = f"the issuer named an endpoint of its own for {target.relying_party}, which only the sandbox may"
        raise ConfigError(msg, "ask whoever runs the issuer to remove 'endpoint' from that relying party")


async def _post(
    http: Http,
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    json: object = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    try:
        return await http.request("POST", url, form=form, json=json, headers=headers, alone=True)
    except UpstreamError as error:
        raise RelyingPartyUnreachable(
            error.message, _NETWORK if isinstance(error, UpstreamAnswer) else "try again"
        ) from None


# --- the border: every refusal of Google's as one of ours -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an error of Google's means here; ``words`` are those that tell it from others of the same code."""

    words: str
    kind: type[ExchangeError]
    says: str
    cure: str


_NETWORK = "check [network] proxy and ca_file"
_TRUST = "ask whoever runs the issuer to run: juniper issuer trust google"
_LATER = "try again in a minute"
_REFUSED, _SILENT = RelyingPartyRefused, RelyingPartyUnreachable
ERRORS: Mapping[str, Sequence[Verdict]] = {
    "invalid_grant": (
        Verdict("expired", IssuedTokenExpired, "Google found the issued token expired", "check the clocks"),
        Verdict("stale", IssuedTokenExpired, "Google found the issued token too old", "check the clocks"),
        Verdict("future", IssuedTokenExpired, "Google found the issued token not valid yet", "check the clocks"),
        Verdict("audience", _REFUSED, "Google's provider expects another audience", _TRUST),
        Verdict("127 bytes", _REFUSED, "the subject that Google's provider maps is too long", _TRUST),
        Verdict("attribute", _REFUSED, "Google's provider cannot map the token's claims", _TRUST),
        Verdict("connecting", _SILENT, "Google could not fetch the issuer's keys", _LATER),
        Verdict("", _REFUSED, "Google does not take the issuer's token", _TRUST),
    ),
    "invalid_target": (
        Verdict("", _REFUSED, "Google knows no such workload identity provider, or it is disabled", _TRUST),
    ),
    "unauthorized_client": (Verdict("", _REFUSED, "the condition of Google's provider refuses", _TRUST),),
    "access_denied": (Verdict("", _REFUSED, "Google's token service refuses", _TRUST),),
    "invalid_request": (
        Verdict("127 bytes", _REFUSED, "the subject that Google's provider maps is too long", _TRUST),
        Verdict("", _REFUSED, "Google's token service does not take the request", _TRUST),
    ),
    "invalid_scope": (Verdict("", _REFUSED, "Google's token service does not take the request", _TRUST),),
    "unsupported_grant_type": (Verdict("", _REFUSED, "Google's token service does not take the request", _TRUST),),
    "invalid_client": (Verdict("", _REFUSED, "Google's token service does not take the request", _TRUST),),
    "UNAUTHENTICATED": (Verdict("", IssuedTokenExpired, "Google does not take the federated token", "try again"),),
    "PERMISSION_DENIED": (
        Verdict(
            "disabled",
            _REFUSED,
            "the IAM Service Account Credentials API is switched off in the account's project",
            "ask whoever runs that project to run: gcloud services enable iamcredentials.googleapis.com",
        ),
        Verdict("", _REFUSED, "the scope may not act as its service account", _TRUST),
    ),
    "NOT_FOUND": (
        Verdict(
            "", _REFUSED, "there is no such service account", "ask whoever owns the policy to mend service_account"
        ),
    ),
    "INVALID_ARGUMENT": (
        Verdict(
            "lifetime",
            _REFUSED,
            "the service account gives no token for as long as the scope lives",
            "ask whoever owns the policy for a shorter ttl",
        ),
        Verdict("", _REFUSED, "Google does not take the request for the service account's token", _TRUST),
    ),
    "FAILED_PRECONDITION": (
        Verdict(
            "",
            _REFUSED,
            "the service account is disabled, or Google refuses it for now",
            "ask whoever runs its project",
        ),
    ),
    "RESOURCE_EXHAUSTED": (Verdict("", _SILENT, "Google has had too many requests", _LATER),),
    "UNAVAILABLE": (Verdict("", _SILENT, "Google cannot answer now", _LATER),),
    "INTERNAL": (Verdict("", _SILENT, "Google cannot answer now", _LATER),),
    "DEADLINE_EXCEEDED": (Verdict("", _SILENT, "Google cannot answer now", _LATER),),
}
"""By OAuth's codes (RFC 6749 section 5.2, RFC 8693 section 2.2.2) from the token service, and by the codes of google.rpc
from the other; of each the first whose words are in the text. The last has none."""


def _read(answer: Answer, issued: IssuedToken) -> Mapping[str, object]:
    """The object of a success; every other answer is raised."""
    try:
        body = answer.json()
    except UpstreamAnswer:
        body = None
    if answer.status == 200 and isinstance(body, dict):
        return body
    code, text = _said(body)
    if answer.status == 429 or answer.status >= 500:
        raise RelyingPartyUnreachable(f"Google answered {code or answer.status} at {host_of(answer.url)}", _LATER)
    if not code:
        # Something on the way spoke in Google's place: no verdict of Google's, so what is held stays good.
        raise RelyingPartyUnreachable(f"{host_of(answer.url)} does not answer as Google does", _NETWORK)
    raise translate(code, text, issued.target)


def _said(body: object) -> tuple[str, str]:
    """Code and text of an error: OAuth's, or that of Google's APIs (google.rpc.Status as JSON)."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return one_line(str(error.get("status") or error.get("code") or ""), 60), str(error.get("message") or "")
    text = body.get("error_description") if isinstance(body, dict) else None
    return (one_line(error, 60), str(text or "")) if isinstance(error, str) else ("", "")


def translate(code: str, text: str, target: Target) -> ExchangeError:
    """One error of Google's, as the error a person reads."""
    place = target.service_account if code.isupper() else target.audience
    shown = f"{place} ({code}: {one_line(text, 200)})"
    for verdict in ERRORS.get(code, ()):
        if verdict.words in text.lower():
            message = f"{verdict.says}: {shown}"
            return verdict.kind(message, verdict.cure)
    return RelyingPartyRefused(f"Google refused {shown}", _TRUST)
