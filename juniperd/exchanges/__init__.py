"""What an issued token becomes: one file per relying party.

An exchange is a module of this folder named after its kind, with ``KIND``, ``WINDOW`` and ``make``; it is imported
when it is first needed, because the libraries behind one cost more than the agent has time for at its start.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from juniperd.errors import RelyingPartyRefused, TargetUnknown
from juniperd.freshness import Window
from juniperd.model import BasicLogin, BearerToken, Clock, Cluster, Credential, IssuedToken, Kind, Lease, Target

_USER = re.compile(r"[A-Za-z0-9.+_-]{1,255}")
"""A deploy token's user name, as GitLab takes it."""


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """How a relying party is reached; ``loopback_endpoints`` is the sandbox's permission for addresses of its own."""

    ca_file: Path | None = None
    proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    loopback_endpoints: bool = False
    clock: Clock = time.time


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What the relying party answered."""

    credential: Credential
    expires_at: float
    cluster: Cluster | None = None
    host: str | None = None


class IssuedTokenExpired(RelyingPartyRefused):
    """The issued token was dead on arrival: worth one fresh one, after that it is somebody's clock."""


class Exchange(Protocol):
    """One kind of relying party."""

    @property
    def window(self) -> Window:
        """When a lease of this kind is renewed."""

    async def warm(self) -> None:
        """Do ahead of need what is slow the first time."""

    async def trade(self, issued: IssuedToken) -> Exchanged:
        """Trade one issued token; raises the :class:`ExchangeError` that names the cure."""

    def close(self) -> None:
        """Let go of threads and connections."""


@dataclass(frozen=True, slots=True)
class Offline:
    """What an exchange has that keeps nothing between two calls: its window, nothing slow and nothing open."""

    window: Window

    async def warm(self) -> None:
        """Nothing to do ahead of need."""

    def close(self) -> None:
        """Nothing to let go of."""


class Deriving(Protocol):
    """An exchange that makes some of its credentials of another kind's lease, and not of an issued token.

    That one's own window makes the maker wait for a new one where it is to be renewed itself.
    """

    async def derive(self, lease: Lease, target: Target, *, now: float) -> Exchanged:
        """The credential for ``target`` out of ``lease``, made at ``now``."""


def basic_login(issued: IssuedToken) -> Exchanged:
    """An issued deploy token as a login, for the one host that the issuer named."""
    target = issued.target
    # A line's end in it would be a line of its own to Git.
    if not target.host or not _USER.fullmatch(target.username):
        msg = f"the issuer named no host or no usable user for {target.relying_party}"
        raise RelyingPartyRefused(msg, "ask whoever runs the issuer to run: juniper policy check")
    return Exchanged(BasicLogin(target.username, issued.token), issued.expires_at, host=target.host)


def untraded(issued: IssuedToken) -> Exchanged:
    """The issued token as it is, for a tool that trades by itself."""
    return Exchanged(BearerToken(issued.token), issued.expires_at)


class ExchangeModule(Protocol):
    """What an exchange's module offers."""

    KIND: Kind
    WINDOW: Window

    def make(self, settings: ExchangeSettings) -> Exchange:
        """The exchange, with nothing imported or opened yet."""


def kinds() -> frozenset[str]:
    """The kinds for which there is a module."""
    return frozenset(info.name for info in pkgutil.iter_modules(__path__))


def load(kind: Kind) -> ExchangeModule:
    """The module of that kind."""
    if kind not in kinds():
        msg = f"this juniperd trades no tokens of kind '{kind}'"
        raise TargetUnknown(msg, "update juniperd")
    return cast("ExchangeModule", importlib.import_module(f"{__name__}.{kind}"))
