"""Where a sign-in rests: the OS keyring, else memory alone, said aloud. The only module that knows ``keyring``.

The backend is built by name. ``keyring.get_keyring()`` would run every backend that any installed package offers,
in the process where the refresh token lives.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pwd
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from juniperd.errors import StoreError, StoreLocked, StoreMissing, UpstreamUnreachable, one_line
from juniperd.model import Secret
from juniperd.threads import in_thread

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

T = TypeVar("T")
SERVICE = "juniper"
VERSION = 1
UNLOCK = "unlock your keyring and try again, or run: juniper login"
TIME_LIMIT = 3.0
"""Seconds; a keyring that asks its owner for a password must not hold up a tool that waits for credentials."""
TURN_TIME = 12.0
"""Seconds to wait for another agent of this person; longer than the one call that a renewal is."""
TURN_PACE = 0.05
"""Seconds between two looks at a lock that another process holds."""


@dataclass(frozen=True, slots=True)
class StoredSignIn:
    """One sign-in at rest: what is needed to go on with it after a restart, and nothing more."""

    issuer: str
    provider: str
    refresh_token: Secret
    key_pem: Secret
    flow: str = "device"
    """How it was made: the client that signed in is the one that renews."""


class Vault(Protocol):
    """A keyring backend; every call may block."""

    def get_password(self, service: str, username: str) -> str | None:
        """The entry, or ``None``."""

    def set_password(self, service: str, username: str, password: str) -> None:
        """Write or replace the entry."""

    def delete_password(self, service: str, username: str) -> None:
        """Remove the entry."""


class Store:
    """Sign-ins by issuer URL. Memory always has the latest; the keyring has it too wherever it can.

    ``note`` says why a sign-in will not outlive this process, or is ``None``. A keyring belongs to a person and not to
    an agent: one started by a shell without ``XDG_RUNTIME_DIR`` finds another socket, and the same entry here.
    ``turns`` is the file that such agents lock in turn.
    """

    def __init__(
        self,
        kind: str,
        *,
        open_vault: Callable[[], Vault] | None = None,
        turns: Path | None = None,
        limit: float = TIME_LIMIT,
    ) -> None:
        self.kind = kind
        self.note: str | None = None if kind == "keyring" else "sign-ins are kept in memory only, as configured"
        self._open_vault = open_vault or os_vault
        self._turns = turns or (_turns_of_user() if open_vault is None else None)
        self._limit = limit
        self._vault: Vault | None = None
        self._memory: dict[str, StoredSignIn] = {}
        self._unwritten: set[str] = set()

    async def load(self, issuer: str) -> StoredSignIn | None:
        """The sign-in of that issuer; raises :class:`StoreError` for a keyring that is there and cannot be read."""
        if issuer in self._memory or self.kind != "keyring":
            return self._memory.get(issuer)
        try:
            text = await self._use(lambda vault: vault.get_password(SERVICE, issuer))
        except StoreMissing:
            return None
        stored = _decode(issuer, text) if text else None
        if stored is not None:
            self._memory[issuer] = stored
        return stored

    async def current(self, issuer: str) -> StoredSignIn | None:
        """What rests in the keyring now, by whichever agent; what memory has where the keyring cannot tell."""
        mine = self._memory.get(issuer)
        if self.kind != "keyring" or issuer in self._unwritten:
            return mine
        try:
            text = await self._use(lambda vault: vault.get_password(SERVICE, issuer))
        except StoreError:
            return mine
        if not text:
            self._memory.pop(issuer, None)
            return None
        stored = _decode(issuer, text) or mine
        if stored is not None:
            self._memory[issuer] = stored
        return stored

    async def rests(self, issuer: str) -> bool:
        """Whether the keyring, asked now, has what memory has: then it outlives this process."""
        if self.kind != "keyring" or issuer in self._unwritten:
            return False
        try:
            text = await self._use(lambda vault: vault.get_password(SERVICE, issuer))
        except StoreError:
            return False
        return bool(text) and _decode(issuer, text or "") == self._memory.get(issuer)

    async def save(self, stored: StoredSignIn) -> None:
        """Keep it; returns once it rests where it will, or once the reason it does not is noted."""
        self._memory[stored.issuer] = stored
        if self.kind == "keyring":
            text = _encode(stored)
            self._unwritten.add(stored.issuer)
            if await self._try(lambda vault: vault.set_password(SERVICE, stored.issuer, text)):
                self._unwritten.discard(stored.issuer)

    async def delete(self, issuer: str) -> None:
        """Forget it here and in the keyring, unless another agent has put another sign-in there."""
        mine = self._memory.pop(issuer, None)
        self._unwritten.discard(issuer)
        if self.kind == "keyring" and mine is not None:
            await self._try(lambda vault: _delete(vault, mine))

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Alone with the keyring among all agents of this person: a refresh token may be spent only once."""
        lock = await _take_turn(self._turns) if self.kind == "keyring" and self._turns is not None else None
        try:
            yield
        finally:
            if lock is not None:
                os.close(lock)

    async def _try(self, use: Callable[[Vault], None]) -> bool:
        """A change that memory already holds: where the keyring does not take it, the note says so."""
        with suppress(StoreError):
            await self._use(use)
            return True
        return False

    async def _use(self, use: Callable[[Vault], T]) -> T:
        try:
            result = await self._in_time(use)
        except StoreError as error:
            self.note = f"sign-ins are kept in memory only: {error}"
            raise
        self.note = None
        return result

    async def _in_time(self, use: Callable[[Vault], T]) -> T:
        try:
            return await asyncio.wait_for(in_thread(lambda: use(self._opened()), name="keyring"), self._limit)
        except TimeoutError:
            msg = f"the keyring did not answer within {self._limit:.0f} s"
            raise StoreLocked(msg, UNLOCK) from None

    def _opened(self) -> Vault:
        """In the thread: the import alone may take longer than the loop has."""
        if self._vault is None:
            self._vault = self._open_vault()
        return _Translated(self._vault)


def os_vault() -> Vault:
    """This system's keyring, by name: macOS Keychain, or the Secret Service (D-Bus)."""
    if sys.platform == "darwin":
        from keyring.backends.macOS import Keyring as Keychain

        backend: type[KeyringBackend] = Keychain
    else:
        from keyring.backends.SecretService import Keyring as SecretService

        backend = SecretService
    try:
        _usable = backend.priority
    except Exception as error:  # noqa: BLE001 - D-Bus libraries fail in many ways where there is no bus
        msg = f"there is no usable keyring ({one_line(str(error), 200)})"
        raise StoreMissing(msg) from None
    vault: Vault = backend()  # type: ignore[no-untyped-call]  # keyring annotates no constructor
    return vault


class _Translated:
    """A vault whose failures are ours: the border every foreign exception of a keyring crosses."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def get_password(self, service: str, username: str) -> str | None:
        return _crossing(lambda: self._vault.get_password(service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        _crossing(lambda: self._vault.set_password(service, username, password))

    def delete_password(self, service: str, username: str) -> None:
        _crossing(lambda: self._vault.delete_password(service, username))


def _crossing(call: Callable[[], T]) -> T:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - D-Bus, Keychain and keyring have no common root
        raise translate(error) from None


def translate(error: Exception) -> StoreError:
    """A failure of keyring or of what it stands on, as one of ours."""
    from keyring import errors as known

    if isinstance(error, StoreError):
        return error
    if isinstance(error, known.KeyringLocked):
        return StoreLocked("the keyring is locked", UNLOCK)
    if isinstance(error, known.InitError):
        return StoreLocked("the keyring cannot be unlocked without its owner", UNLOCK)
    if isinstance(error, known.NoKeyringError):
        return StoreMissing("there is no keyring")
    return StoreError(f"the keyring failed ({type(error).__name__}: {one_line(str(error), 200)})")


def _delete(vault: Vault, mine: StoredSignIn) -> None:
    """Remove the entry of this sign-in, which its key names: another agent may have renewed it, or signed in anew."""
    text = vault.get_password(SERVICE, mine.issuer)
    found = _decode(mine.issuer, text) if text else None
    if found is not None and found.key_pem == mine.key_pem:
        vault.delete_password(SERVICE, mine.issuer)


def _turns_of_user() -> Path | None:
    """One place per user, whatever a shell's environment says of home and runtime folders."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local" / "state" / "juniper" / "sign-in.lock"
    except KeyError:
        return None


def _locked(path: Path) -> int | None:
    """In a thread: the lock, held until it is closed; :class:`BlockingIOError` where another process has it.

    ``None`` where a home cannot be written, and then each agent is on its own.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise
        return None  # a file system without locks
    return lock


async def _soon_locked(path: Path) -> int | None:
    """The same without waiting for a home on a disk that is slow or gone: what comes too late is let go of."""
    locking = asyncio.ensure_future(in_thread(lambda: _locked(path), name="turn"))
    try:
        return await asyncio.wait_for(asyncio.shield(locking), TIME_LIMIT)
    except TimeoutError:
        locking.add_done_callback(_let_go)
        return None
    except asyncio.CancelledError:
        locking.add_done_callback(_let_go)
        raise


def _let_go(locking: asyncio.Future[int | None]) -> None:
    lock = None if locking.cancelled() or locking.exception() else locking.result()
    if lock is not None:
        os.close(lock)


async def _take_turn(path: Path) -> int | None:
    """The lock as :func:`_locked` has it; a wait for another process has no event to wait for."""
    loop = asyncio.get_running_loop()
    until = loop.time() + TURN_TIME
    while True:
        try:
            return await _soon_locked(path)
        except BlockingIOError:
            if loop.time() >= until:
                msg = f"another agent of yours has been busy with the sign-in for {TURN_TIME:.0f} s"
                raise UpstreamUnreachable(msg, "run: juniper down, where that one was started") from None
            await asyncio.sleep(TURN_PACE)


def _encode(stored: StoredSignIn) -> str:
    return json.dumps(
        {
            "version": VERSION,
            "provider": stored.provider,
            "flow": stored.flow,
            "refresh_token": stored.refresh_token.reveal(),
            "key": stored.key_pem.reveal(),
        }
    )


def _decode(issuer: str, text: str) -> StoredSignIn | None:
    """An entry that we wrote; anything else counts as none, so that signing in again mends it."""
    try:
        entry = json.loads(text)
        if entry["version"] != VERSION:
            return None
        # Entries from before there was a browser flow name none.
        values = [entry["provider"], entry["refresh_token"], entry["key"], entry.get("flow", "device")]
    except (ValueError, KeyError, TypeError):
        return None
    if not all(isinstance(value, str) and value for value in values):
        return None
    return StoredSignIn(issuer, values[0], Secret(values[1]), Secret(values[2]), values[3])
