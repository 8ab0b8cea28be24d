"""A Secret Service of the test's own: gnome-keyring on a private D-Bus, which may be locked, stopped, killed and started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from juniperd.errors import StoreError
from juniperd.store import Vault, os_vault
from tests.requirements import require_peer

from .session_bus import session_bus

START_LIMIT = 10.0


@dataclass(slots=True)
class RealVault:
    """This system's keyring by name, as the agent opens it; ``turns`` is what its agents lock."""

    turns: Path | None = None

    def _vault(self) -> Vault:
        return os_vault()

    def get_password(self, service: str, username: str) -> str | None:
        return self._vault().get_password(service, username)

    def set_password(self, service: str, username: str, password: str) -> None:
        self._vault().set_password(service, username, password)

    def delete_password(self, service: str, username: str) -> None:
        self._vault().delete_password(service, username)


class SecretService:
    """The bus and, while it runs, the keyring's daemon on it."""

    def __init__(self, folder: Path, address: str) -> None:
        runtime = folder / "runtime"
        runtime.mkdir(mode=0o700)
        self._env = {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_DATA_HOME": str(folder / "data"),
            "PATH": os.environ["PATH"],
            "DBUS_SESSION_BUS_ADDRESS": address,
        }
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unlocked by its owner's password."""
        words = ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"]
        nowhere = subprocess.DEVNULL
        self._daemon = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, env=self._env, cwd=self._env["HOME"]
        )
        assert self._daemon.stdin is not None
        self._daemon.stdin.write(b"the owner's password")
        self._daemon.stdin.close()
        until = time.monotonic() + START_LIMIT
        while not self._answers():
            assert time.monotonic() < until
            assert self._daemon.poll() is None
            time.sleep(0.01)  # it is another program, and says nothing when it is ready

    def lock(self) -> None:
        """What a screen lock may do: there, and shut."""
        import secretstorage

        with secretstorage.dbus_init() as connection:
            secretstorage.get_default_collection(connection).lock()

    def stop(self) -> None:
        """It still owns its name, and answers nobody."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again, also what was asked meanwhile."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Gone, as after a crash."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None

    def _answers(self) -> bool:
        try:
            os_vault().get_password("juniper", "nobody")
        except StoreError:
            return False
        except Exception:  # noqa: BLE001 - as it starts it fails in any way; the limit says when that is no start
            return False
        return True


@contextmanager
def secret_service(folder: Path) -> Iterator[SecretService]:
    """A bus without a keyring yet, to the end of the block."""
    if shutil.which("gnome-keyring-daemon") is None:
        require_peer("gnome-keyring", "there is no gnome-keyring-daemon on PATH")
    with session_bus(folder) as address:
        service = SecretService(folder, address)
        try:
            yield service
        finally:
            service.kill()
