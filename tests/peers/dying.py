"""An agent that dies of kill -9 at one step of a renewal: ``python -m tests.peers.dying ISSUER KIND VAULT STEP``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from juniperd.http import Http
from juniperd.idp_client import IdpClient
from juniperd.jwks import KeySets
from juniperd.skew import ClockSkew

from .person import Entry, Person, Vault
from .provider import Peer

STEPS = ("marked", "answered", "stored")
"""Before the request goes out; between the provider's answer and its store; before what came with it is used."""


def die() -> None:
    """As the kernel would for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(Vault):
    """A keyring in a file, at whose writes the agent dies."""

    def __init__(self, path: Path, step: str) -> None:
        super().__init__(json.loads(path.read_text()))
        self._path = path
        self._step = step
        self._first = next(iter(self.entries.values()))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Write, and die before or after it as the step says."""
        entry: Entry = json.loads(password)
        rotated = entry["refresh_token"] != json.loads(self._first)["refresh_token"]
        if rotated and self._step == "answered":
            die()
        super().set_password(service, username, password)
        self._path.write_text(json.dumps(self.entries))
        if self._step == ("stored" if rotated else "marked"):
            die()


async def main(issuer: str, kind: str, vault: str, step: str) -> None:
    """Renew, and die."""
    async with Http(plain_loopback=True) as http:
        idp = IdpClient(http, KeySets(http, clock=time.time), clock=time.time, skew=ClockSkew(time.time))
        person = Person.at(Peer(issuer, http, kind), idp, vault=Dying(Path(vault), step))
        await person.sign_in.subject()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
