"""Profiles, and the one verifier: every rule about claims stands here.

PyJWT checks signatures alone: its defaults ignore ``typ`` and accept several audiences, and time is injected here
(RFC 7519, 8725).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NewType

from juniperd.jose.form import LEEWAY, media_type, reject, seconds, split, text
from juniperd.jose.keys import KeySet, check_signature

VerifiedClaims = NewType("VerifiedClaims", Mapping[str, object])
"""Claims whose token passed :func:`verify`; made nowhere else."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The rules for one use of a token; every claim that matters is named here.

    ``max_age`` bounds the age of ``iat``, ``max_life`` the distance from ``iat`` to ``exp``, both in seconds.
    ``azp``, where a token has it, must be one of ``audiences``.
    """

    use: str
    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str] = frozenset({"RS256"})
    types: frozenset[str | None] = frozenset({None, "jwt"})
    required: tuple[str, ...] = ("iss", "sub", "aud", "exp", "iat")
    forbidden: frozenset[str] = frozenset()
    max_age: float | None = None
    max_life: float | None = None


MAX_PERSON_AGE = 600.0
"""Seconds: an ID token is young, so that a disabled person's last one soon counts for nothing."""
MAX_PERSON_LIFE = 65 * 60.0


def person_profile(issuer: str, client_ids: frozenset[str], max_life: float = MAX_PERSON_LIFE) -> Profile:
    """A person's ID token (OpenID Connect Core section 2): never a job's, young, for our clients alone."""
    return Profile(
        use="person",
        issuer=issuer,
        audiences=client_ids,
        forbidden=frozenset({"job_id", "pipeline_id"}),
        max_age=MAX_PERSON_AGE,
        max_life=max_life,
    )


def job_profile(issuer: str, audience: str) -> Profile:
    """A GitLab job's ID token: lives as long as the job may run, so its life has no cap."""
    return Profile(
        use="job",
        issuer=issuer,
        audiences=frozenset({audience}),
        required=("iss", "sub", "aud", "exp", "iat", "jti", "job_id", "project_id"),
    )


def own_profile(issuer: str, audience: str) -> Profile:
    """A token of our own issuer: an hour at most."""
    return Profile(
        use="own",
        issuer=issuer,
        audiences=frozenset({audience}),
        types=frozenset({"jwt"}),
        required=("iss", "sub", "aud", "exp", "iat", "nbf", "jti"),
        max_life=3600.0,
    )


@dataclass(frozen=True, slots=True)
class Header:
    """What an unverified token says of itself: good for choosing a profile and for nothing else."""

    algorithm: str
    kid: str | None
    typ: str | None
    issuer: str
    of_job: bool
    """Whether it says that it is a job's: which of two profiles to hold it to, where one issuer makes both."""


def _kid(header: Mapping[str, object]) -> str | None:
    return text(header["kid"], "kid", "kid") if "kid" in header else None


def peek(token: str) -> Header:
    """Read an unverified token far enough to choose how to verify it."""
    header, claims = split(token)
    return Header(
        algorithm=text(header.get("alg"), "alg", "alg"),
        kid=_kid(header),
        typ=media_type(header),
        issuer=text(claims.get("iss"), "iss", "iss"),
        of_job="job_id" in claims,
    )


def verify(token: str, profile: Profile, keys: KeySet, *, now: float) -> VerifiedClaims:
    """The claims of a token that keeps every rule of its profile; else :class:`TokenRejected` with the rule's name."""
    header, claims = split(token)
    algorithm = text(header.get("alg"), "alg", "alg")
    if algorithm not in profile.algorithms:
        raise reject("alg", f"the token is signed with {algorithm}, which is not taken here")
    if media_type(header) not in profile.types:
        raise reject("typ", "the token is of another type")
    check_signature(token, keys.find(_kid(header), algorithm), algorithm)
    _check_presence(claims, profile)
    _check_addresses(claims, profile)
    _check_times(claims, profile, now)
    return VerifiedClaims(claims)


def _check_presence(claims: Mapping[str, object], profile: Profile) -> None:
    for name in profile.required:
        if claims.get(name) in (None, "", []):
            raise reject(name, f"the token has no {name}")
    for name in sorted(profile.forbidden):
        if name in claims:
            raise reject(name, f"the token has {name}, so it is no {profile.use}'s token")
    for name in ("sub", "jti"):
        if name in claims:
            text(claims[name], name, name)


def _check_addresses(claims: Mapping[str, object], profile: Profile) -> None:
    if claims.get("iss") != profile.issuer:
        raise reject("iss", "the token is from another issuer")
    audience = claims.get("aud")
    if isinstance(audience, list):
        if len(audience) != 1:
            raise reject("aud", "the token is for more than one audience")
        audience = audience[0]
    if not isinstance(audience, str) or audience not in profile.audiences:
        raise reject("aud", "the token is for another audience")
    if "azp" in claims and text(claims["azp"], "azp", "azp") not in profile.audiences:
        raise reject("azp", "the token was made for another client")


def _check_times(claims: Mapping[str, object], profile: Profile, now: float) -> None:
    issued, ends = seconds(claims, "iat"), seconds(claims, "exp")
    if now >= ends + LEEWAY:
        raise reject("exp", "the token has expired")
    if issued > now + LEEWAY:
        raise reject("iat", "the token was issued in the future; check this machine's clock")
    if "nbf" in claims and seconds(claims, "nbf") > now + LEEWAY:
        raise reject("nbf", "the token is not valid yet; check this machine's clock")
    if ends <= issued:
        raise reject("exp", "the token ends before it begins")
    if profile.max_life is not None and ends - issued > profile.max_life:
        raise reject("life", f"the token lives longer than {profile.max_life / 60:.0f} minutes")
    if profile.max_age is not None and now - issued > profile.max_age + LEEWAY:
        raise reject("age", f"the token was issued more than {profile.max_age / 60:.0f} minutes ago")
