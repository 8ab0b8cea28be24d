"""Who asks: an ID token, a person's or a job's, and the key that shows it, verified before anything else is looked at."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from juniperd import jose
from juniperd.errors import TokenRejected
from juniperd.issuer.config import Identity, IssuerConfig
from juniperd.issuer.facts import is_whole
from juniperd.issuer.inquiry import OnPage, Who
from juniperd.issuer.job import Job, job_of
from juniperd.issuer.verdict import Refused, SignIn
from juniperd.jose import VerifiedClaims, b64url, job_profile, peek, person_profile
from juniperd.jwks import KeySets

_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_JOB_CURE = "check id_tokens in the job's configuration, then run the job again"
OLD_SIGN_IN = "sign out at {host} in your browser, then run: juniper login --device"


@dataclass(frozen=True, slots=True)
class Subject:
    """A verified person: ``key`` is their stable id at the identity provider, ``thumbprint`` their agent's key."""

    identity: Identity
    key: str
    who: Who | OnPage
    client_id: str
    issued_at: float
    auth_time: float | None
    sid: str
    nonce: str
    thumbprint: str
    sign_in: SignIn
    token_digest: str

    @property
    def name(self) -> tuple[str, str]:
        """The person, whatever token they come with."""
        return self.identity.name, self.key

    @property
    def by_device(self) -> bool:
        """Whether the sign-in came through device flow, whose tokens carry no nonce."""
        return self.sign_in.flow == "device"


Caller = Subject | Job
"""Whoever may ask for a token; everything else is for people."""


def expected_nonce(issuer_url: str, thumbprint: str) -> str:
    """What ties a browser sign-in to one issuer and one key."""
    return b64url(hashlib.sha256((issuer_url + thumbprint).encode()).digest())


class Subjects:
    """Verifies subject tokens by the profile of the identity their issuer names."""

    def __init__(self, config: IssuerConfig, keys: KeySets) -> None:
        self._config = config
        self._keys = keys
        self._by_issuer = {i.issuer: i for i in config.identities.values()}

    async def caller(self, token: str, thumbprint: str) -> Caller:
        """The person or the job behind an ID token; one with a ``job_id`` is never a person's, one without never a job's."""
        if not peek(token).of_job:
            return await self.verify(token, thumbprint)
        pipelines = self._config.pipelines
        if pipelines is None:
            raise TokenRejected("job_id", "no pipeline holds anything here", "ask whoever runs the issuer: [pipelines]")
        if peek(token).issuer != pipelines.issuer:
            raise TokenRejected("iss", "the token is of a job of another GitLab", "ask whoever runs the issuer")
        try:
            claims = await self._keys.verify(token, job_profile(pipelines.issuer, pipelines.audience))
            return job_of(claims, thumbprint, hashlib.sha256(token.encode()).hexdigest())
        except TokenRejected as error:
            raise TokenRejected(error.rule, error.message, _JOB_CURE) from None

    async def verify(self, token: str, thumbprint: str) -> Subject:
        """The person behind an ID token; raises TokenRejected, or UpstreamError where keys cannot be had."""
        seen = peek(token)
        if seen.of_job:
            cure = "run this on your own machine, or what the job holds by: juniper ci"
            raise TokenRejected("job_id", "a job's token signs nobody in", cure)
        issuer = seen.issuer
        if issuer == self._config.url:
            raise TokenRejected("own", "a token of this issuer is no sign-in")
        identity = self._by_issuer.get(issuer)
        if identity is None:
            raise _foreign(issuer, self._config.identities.values())
        profile = person_profile(identity.issuer, identity.client_ids, identity.max_token_life)
        claims = await self._keys.verify(token, profile)
        return _subject(identity, claims, thumbprint, hashlib.sha256(token.encode()).hexdigest())


def _foreign(issuer: str, identities: Iterable[Identity]) -> TokenRejected:
    if any(i.tenant and issuer == f"https://sts.windows.net/{i.tenant}/" for i in identities):
        text = "the token is one of Entra's v1.0 tokens; only those of its v2.0 endpoint count here"
        return TokenRejected("iss", text, "ask whoever runs the issuer")
    return TokenRejected("iss", "the token is from an issuer that is not configured here")


def _subject(identity: Identity, claims: VerifiedClaims, thumbprint: str, digest: str) -> Subject:
    client_id = _audience(claims)
    flow = "device" if client_id == identity.device_client_id else "browser"
    key, uid = stable_id(identity, claims)
    return Subject(
        identity=identity,
        key=key,
        who=OnPage(identity.name, key, identity.link.page)
        if identity.link.on_page
        else Who(identity.link.provider, uid),
        client_id=client_id,
        issued_at=jose.seconds(claims, "iat"),
        auth_time=jose.seconds(claims, "auth_time") if "auth_time" in claims else None,
        sid=_text(claims, "sid", ""),
        nonce=_text(claims, "nonce", ""),
        thumbprint=thumbprint,
        sign_in=sign_in_of(identity, claims, flow),
        token_digest=digest,
    )


def sign_in_of(identity: Identity, claims: Mapping[str, object], flow: str) -> SignIn:
    """How the person signed in, as the token has it."""
    return SignIn(identity, flow, _words(claims, "amr"), _text(claims, "acr", ""), _words(claims, "acrs"))


def _audience(claims: Mapping[str, object]) -> str:
    audience = claims["aud"]
    return str(audience[0]) if isinstance(audience, list) else str(audience)


def stable_id(identity: Identity, claims: Mapping[str, object]) -> tuple[str, str]:
    """The key of the link, and the value GitLab holds as ``extern_uid``."""
    if identity.kind == "entra":
        return _entra_id(identity, claims)
    value = _text(claims, identity.link.claim)
    if len(value) > 255 or not value.isprintable():
        raise TokenRejected(identity.link.claim, f"the token's {identity.link.claim} is not an id")
    if identity.link.claim == "oid":
        return f"{_text(claims, 'tid')}/{value}", value
    return value, value


def _entra_id(identity: Identity, claims: Mapping[str, object]) -> tuple[str, str]:
    """``tid`` and ``oid`` alone: names and addresses pass to other people, and a tenant's owner may invent them."""
    if claims.get("ver") != "2.0":
        raise TokenRejected("ver", "the token is none of Entra's v2.0 endpoint", "ask whoever runs the issuer")
    if claims.get("tid") != identity.tenant:
        raise TokenRejected("tid", "the token is of another Entra tenant")
    oid = claims.get("oid")
    if oid is None:
        cure = "ask whoever runs the issuer to add profile to the identity's scopes"
        raise TokenRejected("oid", "the token has no oid", cure)
    if not isinstance(oid, str) or not _GUID.fullmatch(oid):
        raise TokenRejected("oid", "the token's oid is not an id")
    return f"{identity.tenant}/{oid}", oid


def _text(claims: Mapping[str, object], name: str, default: str | None = None) -> str:
    value = claims.get(name, default)
    if not isinstance(value, str) or (default is None and not value) or not is_whole(value):
        raise TokenRejected(name, f"the token's {name} is missing or not text")
    return value


def _words(claims: Mapping[str, object], name: str) -> frozenset[str]:
    value = claims.get(name, [])
    if not isinstance(value, list) or not all(isinstance(v, str) and is_whole(v) for v in value):
        raise TokenRejected(name, f"the token's {name} is not a list of texts")
    return frozenset(value)


def stale(subject: Subject, *, now: float) -> Refused | None:
    """Why a sign-in is too old to count, or None; without ``auth_time`` nobody can say that it is young."""
    max_age = subject.identity.sign_in_max_age
    if subject.auth_time is None:
        return Refused(
            "0", "auth_time_missing", "the sign-in carries no auth_time; ask the identity provider's administrator"
        )
    if now - subject.auth_time <= max_age + jose.LEEWAY and subject.auth_time <= now + jose.LEEWAY:
        return None
    return Refused("0", "sign_in_old", f"the sign-in is older than {max_age / 3600:g} h; {cure(subject)}")


def cure(subject: Subject) -> str:
    """How a sign-in is made anew: in device flow the browser's session would bring the old one back."""
    if not subject.by_device:
        return "run: juniper login"
    host = subject.identity.issuer.split("/")[2]
    return OLD_SIGN_IN.format(host=host)
