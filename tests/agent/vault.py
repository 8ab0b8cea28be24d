"""A keyring in a dictionary."""

from __future__ import annotations

import threading
from pathlib import Path


class FakeVault:
    """A keyring in a dictionary, which fails or sleeps when it is told to; ``turns`` is what its agents lock."""

    def __init__(self, turns: Path | None = None) -> None:
        self.turns = turns
        self.entries: dict[tuple[str, str], str] = {}
        self.fails: Exception | None = None
        self.blocks = threading.Event()
        self.blocks.set()

    def _enter(self) -> None:
        self.blocks.wait(20)
        if self.fails is not None:
            raise self.fails

    def get_password(self, service: str, username: str) -> str | None:
        self._enter()
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._enter()
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._enter()
        del self.entries[service, username]
