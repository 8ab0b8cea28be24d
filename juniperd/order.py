"""What the issuer orders of the minter, and what comes of it: the one thing that both programs know.

An order is a JWS of the issuer's, of a type and for an audience that no relying party takes; it lives a minute and is
carried out once. The minter answers with a deploy token, or says that one has ended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from juniperd import jose
from juniperd.errors import TokenRejected, UpstreamAnswer
from juniperd.jose import Profile, VerifiedClaims
from juniperd.model import Secret

TYPE = "juniper-order+jwt"
AUDIENCE = "juniper:minter"
LIFE = 60.0
"""Seconds an order may wait for the minter."""
LONGEST = 3600.0
"""Seconds a deploy token lives at most."""
LONGEST_SECRET = 2048
"""Characters of a secret: stores of credentials break beyond (docker-credential-helpers, issue 190)."""
CONTENT_TYPE = "application/jwt"
PATH = "/orders"
SCOPES = ("read_registry", "write_registry", "read_repository")
"""What of GitLab's deploy-token scopes may be ordered."""
PREFIX = "juniper"
"""The first word of every token's name, by which the minter knows its own."""

ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_USER = re.compile(r"[1-9][0-9]{0,18}-[A-Za-z0-9_.-]{1,200}")


class Act(StrEnum):
    """What is ordered."""

    MINT = "mint"
    END = "end"


@dataclass(frozen=True, slots=True)
class Order:
    """One order; ``id`` names the token for as long as it lives. Ending needs the id and the project alone.

    ``user`` is ``<user id>-<login>``, ``ends_at`` UTC unix seconds.
    """

    id: str
    act: Act
    project_id: int
    user: str = ""
    scopes: tuple[str, ...] = ()
    ends_at: float = 0.0

    @property
    def name(self) -> str:
        """The deploy token's name at GitLab, whose maintainers read it."""
        return f"{PREFIX} {self.user} {self.id}"

    @property
    def username(self) -> str:
        """The name its holder logs in with, which registries and Git servers write into their logs."""
        return f"{PREFIX}-{self.user}"

    def claims(self, issuer: str, *, now: float) -> dict[str, object]:
        """What the issuer signs."""
        said: dict[str, object] = {
            "iss": issuer,
            "sub": f"order:{self.act}:project_id:{self.project_id}",
            "aud": AUDIENCE,
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now + LIFE),
            "jti": f"{self.id}.{self.act}.{int(now)}",
            "order": self.id,
            "act": self.act.value,
            "project_id": str(self.project_id),
        }
        if self.act is Act.MINT:
            said |= {"user": self.user, "scopes": list(self.scopes), "ends_at": int(self.ends_at)}
        return said


def profile(issuer: str) -> Profile:
    """The rules that an order keeps as a token (RFC 8725)."""
    return Profile(
        use="order",
        issuer=issuer,
        audiences=frozenset({AUDIENCE}),
        types=frozenset({TYPE}),
        required=("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "order", "act", "project_id"),
        max_life=LIFE,
    )


def read(claims: VerifiedClaims) -> Order:
    """The order in verified claims; :class:`TokenRejected` where a part of it is not as :meth:`Order.claims` says it."""
    number, act, project = (_text(claims, name) for name in ("order", "act", "project_id"))
    if not ID.fullmatch(number) or act not in tuple(Act) or not re.fullmatch(r"[1-9][0-9]{0,18}", project):
        raise _odd()
    if act == Act.END:
        return Order(number, Act.END, int(project))
    user, scopes = _text(claims, "user"), claims.get("scopes")
    if not _USER.fullmatch(user) or not isinstance(scopes, list) or not scopes:
        raise _odd()
    if any(s not in SCOPES for s in scopes) or len(set(scopes)) != len(scopes):
        raise _odd()
    return Order(number, Act.MINT, int(project), user, tuple(scopes), jose.seconds(claims, "ends_at"))


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise _odd()
    return value


def _odd() -> TokenRejected:
    return TokenRejected("order", "the order is not as an issuer writes it", "run issuer and minter from one release")


@dataclass(frozen=True, slots=True)
class Minted:
    """A deploy token as the minter hands it over."""

    order: str
    token_id: int
    username: str
    secret: Secret
    ends_at: float

    def document(self) -> dict[str, object]:
        """The JSON of the minter's answer, which is the one place where the secret stands in the clear."""
        return {
            "version": 1,
            "order": self.order,
            "token_id": self.token_id,
            "username": self.username,
            "token": self.secret.reveal(),
            "ends_at": int(self.ends_at),
        }


def minted(document: object, order: Order, host: str) -> Minted:
    """The same, read by the issuer: for this very order, or not at all."""
    said = document if isinstance(document, dict) else {}
    number, ends_at, token = _number(said.get("token_id")), _number(said.get("ends_at")), said.get("token")
    fits = (said.get("version"), said.get("order"), said.get("username")) == (1, order.id, order.username)
    if not fits or number is None or ends_at is None or not isinstance(token, str) or not is_secret(token):
        msg = f"{host} answered something that is no deploy token for this order"
        raise UpstreamAnswer(msg, "run issuer and minter from one release", host=host)
    return Minted(order.id, number, order.username, Secret(token), min(ends_at, order.ends_at))


def _number(value: object) -> int | None:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53
    return value if usable and isinstance(value, int) else None


def is_secret(text: str) -> bool:
    """Whether a text can be a password that every tool takes."""
    return 8 <= len(text) < LONGEST_SECRET and text.isascii() and text.isprintable() and " " not in text
