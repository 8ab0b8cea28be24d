"""Who asks: the bearer in the Authorization header, given to an authenticator and remembered for ten seconds."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

Clock = Callable[[], float]
REMEMBERED: Final = 10.0
"""Seconds an accepted token is not looked at again, so that it outlives its `exp` by as much (measured)."""
AUTHENTICATED: Final = "system:authenticated"


@dataclass(frozen=True, slots=True)
class User:
    """What the cluster calls somebody (`user.Info` of the API server)."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def info(self) -> dict[str, object]:
        """As `authentication.k8s.io/v1` writes a UserInfo, without what is empty."""
        extra = {key: list(values) for key, values in self.extra.items()}
        found = {"username": self.name, "uid": self.uid, "groups": list(self.groups), "extra": extra}
        return {key: value for key, value in found.items() if value}


ANONYMOUS: Final = User("system:anonymous", groups=("system:unauthenticated",))


class Authenticator(Protocol):
    """One way to read bearer tokens."""

    async def authenticate(self, token: str) -> User | None:
        """The token's user, or None for one that this cluster does not take."""


class Refused(Exception):
    """A bearer token that no authenticator takes; the client hears 401 and no reason."""


@dataclass(slots=True)
class Authentication:
    """Reads the header of every request."""

    authenticator: Authenticator
    clock: Clock = time.time
    _accepted: dict[bytes, tuple[float, User]] = field(default_factory=dict)

    async def identify(self, header: str) -> User:
        """The user; somebody who gives no bearer at all is anonymous, and `Refused` is raised for a bad one."""
        scheme, _, rest = header.strip().partition(" ")
        token = rest.partition(" ")[0]
        if scheme.lower() != "bearer" or not token:
            return ANONYMOUS
        return await self._token(token)

    async def _token(self, token: str) -> User:
        key = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        until, user = self._accepted.get(key, (0.0, ANONYMOUS))
        if self.clock() < until:
            return user
        found = await self.authenticator.authenticate(token)
        if found is None:
            self._accepted.pop(key, None)
            raise Refused
        user = replace(found, groups=(*found.groups, AUTHENTICATED))
        self._accepted[key] = (self.clock() + REMEMBERED, user)
        return user
