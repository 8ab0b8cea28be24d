"""Signing keys: RS256, files of mode 0600 in a folder of mode 0700, rotated without a gap.

A new key is published long before it signs, for verifiers keep what they fetched as long as ``Cache-Control`` says;
an old key stays published until the last token it signed is dead everywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from juniperd.errors import ConfigError, StateError, TokenRejected
from juniperd.jose import SigningKey
from juniperd.premises import private_folder

JWKS_MAX_AGE = 300
"""Seconds a verifier may keep the key set (``Cache-Control`` of the JWKS)."""
PUBLISHED_AHEAD = 2.0 * JWKS_MAX_AGE
TOKEN_LIFE = 300.0
"""Seconds a token lives that is traded at once."""
LONGEST_LIFE = 3600.0
"""Seconds a token lives at most that is used as it is, by a cluster or an API."""
OUTLIVES = LONGEST_LIFE + 600.0
"""Seconds an old key stays after its last signature: the longest life, and what relying parties forgive after it."""
VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One key's place in the rotation; ``ends_at`` is None until a successor is made."""

    kid: str
    signs_from: float
    ends_at: float | None = None


class Keys:
    """The keys of one folder."""

    def __init__(self, folder: Path, *, now: float) -> None:
        self._folder = private_folder(folder, named_in="issuer.toml")
        self._entries = self._read()
        self._signers = {e.kid: self._load(e.kid) for e in self._entries}
        if not self._entries:
            self._add(now)

    def signer(self, now: float) -> SigningKey:
        """The youngest key whose time to sign has come."""
        ready = [e for e in self._entries if e.signs_from <= now]
        chosen = max(ready, key=lambda e: e.signs_from) if ready else self._entries[0]
        return self._signers[chosen.kid]

    def entries(self, now: float) -> Sequence[Entry]:
        """The keys that are published at ``now``, oldest first."""
        return [e for e in self._entries if e.ends_at is None or now < e.ends_at]

    def jwks(self, now: float) -> dict[str, object]:
        """The key set at ``now``; never empty."""
        return {"keys": [self._signers[e.kid].public_jwk() for e in self.entries(now)]}

    def rotate(self, now: float) -> Entry:
        """Make the next key; refused while one is waiting for its time."""
        waiting = next((e for e in self._entries if e.signs_from > now), None)
        if waiting is not None:
            left = int(waiting.signs_from - now) + 1
            msg = f"the next key is published and signs in {left} s"
            raise StateError(msg, "wait for it, then rotate again")
        dead = [e for e in self._entries if e.ends_at is not None and now >= e.ends_at]
        self._entries = [e for e in self._entries if e not in dead]
        made = self._add(now + PUBLISHED_AHEAD)
        for entry in dead:
            self._signers.pop(entry.kid)
            (self._folder / f"{entry.kid}.pem").unlink(missing_ok=True)
        return made

    def replace(self, now: float) -> Entry:
        """Make a key that signs at once, and publish no other: somebody else may have those there were."""
        stolen = [e.kid for e in self._entries]
        made = self._add(now, keep=())
        for kid in stolen:
            self._signers.pop(kid)
            (self._folder / f"{kid}.pem").unlink(missing_ok=True)
        return made

    def _add(self, signs_from: float, *, keep: Sequence[Entry] | None = None) -> Entry:
        key = SigningKey.generate_rs256()
        self._store(f"{key.kid}.pem", key.to_pem().reveal())
        made = Entry(key.kid, signs_from)
        kept = self._entries if keep is None else keep
        older = [e if e.ends_at is not None else replace(e, ends_at=signs_from + OUTLIVES) for e in kept]
        entries = [*older, made]
        document = {
            "version": VERSION,
            "keys": [{"kid": e.kid, "signs_from": e.signs_from, "ends_at": e.ends_at} for e in entries],
        }
        self._store("keys.json", json.dumps(document, indent=1))
        self._entries = entries
        self._signers[key.kid] = key
        return made

    def _read(self) -> list[Entry]:
        path = self._folder / "keys.json"
        if not path.exists():
            return []
        try:
            document = json.loads(path.read_text())
            if document["version"] > VERSION:
                msg = f"{path} is newer than this program"
                raise StateError(msg, "upgrade juniperd")
            return [Entry(e["kid"], float(e["signs_from"]), e["ends_at"]) for e in document["keys"]]
        except (OSError, ValueError, KeyError, TypeError):
            msg = f"{path} cannot be read"
            raise StateError(msg, "restore it from a backup") from None

    def _load(self, kid: str) -> SigningKey:
        path = self._folder / f"{kid}.pem"
        try:
            if path.stat().st_mode & 0o077:
                msg = f"the signing key {path} can be read by others"
                raise ConfigError(msg, f"run: chmod 600 {path}")
            key = SigningKey.from_pem(path.read_bytes())
        except (OSError, TokenRejected):
            msg = f"the signing key {path} cannot be read"
            raise StateError(msg, "restore it from a backup") from None
        if key.kid != kid or key.algorithm != "RS256":
            msg = f"{path} holds another key than its name says"
            raise StateError(msg, "restore it from a backup")
        return key

    def _store(self, name: str, text: str) -> None:
        """Write a file whole or not at all, and make the disk sure of it."""
        scratch = self._folder / f".{name}.new"
        try:
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            scratch.rename(self._folder / name)
        except OSError as error:
            with suppress(OSError):
                scratch.unlink()
            msg = f"{self._folder / name} cannot be written ({error.strerror})"
            raise StateError(msg, f"make room in {self._folder}, then try again") from None
