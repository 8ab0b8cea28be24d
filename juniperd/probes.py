"""What the agent tries for ``juniper doctor``: an exchange that nobody gets anything of, a look at the keyring."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Protocol

from juniperd.broker import Broker
from juniperd.errors import ProtocolError
from juniperd.model import CredentialRequest, Kind
from juniperd.protocols.control import ControlRequest
from juniperd.store import Store

Event = Mapping[str, object]
PROGRAM = "juniper doctor"
"""Who asks, in the issuer's trail."""
TRADED = frozenset({Kind.AWS, Kind.GOOGLE, Kind.KUBERNETES, Kind.API})
"""The kinds of which an exchange leaves nothing behind at the relying party that would have to be given back."""


class Counter(Protocol):
    """One issuer of this laptop."""

    @property
    def issuer(self) -> Named:
        """The issuer."""


class Named(Protocol):
    """An issuer, as far as the keyring knows it."""

    url: str


class Probes:
    """The control requests of the doctor. ``desk`` answers an issuer of that name, or the only one."""

    def __init__(self, broker: Broker, store: Store, desk: Callable[[str | None], tuple[str, Counter]]) -> None:
        self._broker = broker
        self._store = store
        self._desk = desk
        self.verbs: Mapping[str, Callable[[ControlRequest], AsyncGenerator[Event, None]]] = {
            "probe": self._probe,
            "keyring": self._keyring,
        }

    async def _probe(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        """One scope at one relying party; no lease is kept, and where one would be minted nothing is tried."""
        name, _ = self._desk(request.text("issuer"))
        kind = request.need("kind")
        if kind not in TRADED:
            msg = f"nothing of kind '{kind}' is tried"
            raise ProtocolError(msg)
        asked = CredentialRequest(
            request.need("scope"), Kind(kind), issuer=name, relying_party=request.text("relying_party")
        )
        await self._broker.probe(asked, program=PROGRAM)
        yield {"event": "result", "scope": asked.scope, "kind": kind}

    async def _keyring(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        """How long the keyring takes to be read, and what is wrong with it."""
        _, desk = self._desk(request.text("issuer"))
        began = time.monotonic()
        rests = await self._store.rests(desk.issuer.url)
        took = time.monotonic() - began
        yield {"event": "result", "seconds": round(took, 3), "rests": rests, "problem": self._store.note}
