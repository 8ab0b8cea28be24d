"""Who stands at both ends of a link: read from what two providers proved, in one browser, within minutes.

Pure: claims in, a person or an account out, or why not. Addresses and names are shown, and never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from juniperd.errors import TokenRejected, one_line
from juniperd.issuer.checks import sign_in_rule
from juniperd.issuer.code_flow import Client
from juniperd.issuer.config import Identity, IssuerConfig
from juniperd.issuer.facts import Fact, User
from juniperd.issuer.inquiry import OnPage
from juniperd.issuer.subject import sign_in_of, stable_id
from juniperd.issuer.verdict import Refused
from juniperd.jose import MAX_PERSON_LIFE, VerifiedClaims

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_LONGEST_NAME = 80
ANEW = ("prompt", "login")
"""Both ends are signed in to anew: who sits down at somebody else's open session links nothing."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at the identity provider; ``name`` is what it calls them, for their own eyes alone."""

    who: OnPage
    name: str
    provider: str


@dataclass(frozen=True, slots=True)
class Pair:
    """The two accounts that a browser has shown."""

    person: Person
    user: User


def person_client(identity: Identity) -> Client:
    """The page's client at an identity provider: public, with an address for this identity alone."""
    return Client(
        issuer=identity.issuer,
        client_id=identity.link.client_id,
        redirect_uri=f"{identity.link.page}/idp/{identity.name}",
        scopes=tuple(s for s in identity.scopes if s != "offline_access"),
        max_life=identity.max_token_life,
        ask=(("max_age", "0"), ANEW),
    )


def gitlab_client(config: IssuerConfig) -> Client:
    """The page's client at GitLab, which gets ``openid`` and nothing else.

    GitLab signs in anew for ``prompt=login``; a ``max_age`` of 0 it reads as one second, which no sign-in page keeps.
    """
    return Client(
        issuer=config.gitlab.url,
        client_id=config.gitlab.client_id,
        redirect_uri=f"{config.api_url}/link/gitlab",
        scopes=("openid",),
        max_life=MAX_PERSON_LIFE,
        ask=(ANEW,),
        secret=config.gitlab.client_secret,
    )


def person_of(identity: Identity, claims: VerifiedClaims) -> Person | Refused:
    """The person behind an ID token."""
    try:
        key, _ = stable_id(identity, claims)
    except TokenRejected as error:
        return _unreadable(error)
    return Person(OnPage(identity.name, key, identity.link.page), _name(claims, key), identity.display_name)


def rule_broken(identity: Identity, claims: VerifiedClaims) -> Refused | None:
    """Why this sign-in is less than the identity asks of any other, or None."""
    try:
        broken = sign_in_rule(sign_in_of(identity, claims, "browser"))
    except TokenRejected as error:
        return _unreadable(error)
    if broken is None:
        return None
    what = broken.text.partition(";")[0]
    return Refused(broken.rule, broken.reason, f"{what}; ask the identity provider's administrator")


def _unreadable(error: TokenRejected) -> Refused:
    return Refused("1", error.rule, f"{error.message}; ask who runs the issuer")


def _name(claims: Mapping[str, object], key: str) -> str:
    """What a person recognises themselves by."""
    for claim in ("preferred_username", "name"):
        value = claims.get(claim)
        if isinstance(value, str) and (text := one_line(value, _LONGEST_NAME)):
            return text
    return one_line(key, _LONGEST_NAME)


def user_number(claims: VerifiedClaims) -> int | Refused:
    """The numeric id that GitLab has as ``sub``; a job's token has another, and was refused before."""
    found = claims.get("sub")
    if isinstance(found, str) and _NUMBER.fullmatch(found):
        return int(found)
    return Refused("1", "gitlab_doubtful", "GitLab's token names no user id; ask who runs the issuer")


def account_of(fact: Fact[User]) -> User | Refused:
    """GitLab's own record of that user, who is a person and may sign in."""
    if fact.trouble is not None and fact.trouble.passing:
        return Refused("2", fact.trouble.reason, "GitLab cannot be asked now; try again in a minute", passing=True)
    if fact.value is None:
        reason = fact.trouble.reason if fact.trouble is not None else "gitlab_doubtful"
        return Refused("2", reason, "GitLab's record of you was not understood; ask who runs the issuer")
    if not fact.value.active:
        return Refused("2", "user_inactive", "your GitLab account is no active person's; ask a GitLab administrator")
    return fact.value
