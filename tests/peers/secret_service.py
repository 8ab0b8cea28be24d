"""A real Secret Service: gnome-keyring on a D-Bus of its own, in folders of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.requirements import require_peer


@dataclass(frozen=True, slots=True)
class SecretService:
    """The bus and the processes behind it; ``variables`` are what an agent needs to find it."""

    address: str
    bus: subprocess.Popen[bytes]
    keyring: subprocess.Popen[bytes]

    @property
    def variables(self) -> dict[str, str]:
        """The environment of who uses it."""
        return {"DBUS_SESSION_BUS_ADDRESS": self.address}


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        require_peer(name, "there is none on PATH")
    return str(found)


@contextmanager
def secret_service(place: Path, *, password: bytes = b"opens the keyring") -> Iterator[SecretService]:
    """One that is unlocked, until the block ends."""
    place.mkdir(mode=0o700, exist_ok=True)
    home = {"HOME": str(place), "XDG_RUNTIME_DIR": str(place), "XDG_DATA_HOME": str(place), "PATH": os.defpath}
    daemon = [_program("dbus-daemon"), "--session", "--nofork", "--print-address=1", f"--address=unix:dir={place}"]
    with subprocess.Popen(daemon, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=home) as bus:
        try:
            assert bus.stdout is not None
            address = bus.stdout.readline().decode().strip()
            env = home | {"DBUS_SESSION_BUS_ADDRESS": address}
            words = [_program("gnome-keyring-daemon"), "--foreground", "--unlock", "--components=secrets"]
            with subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
            ) as keyring:
                try:
                    assert keyring.stdin is not None
                    assert keyring.stdout is not None
                    keyring.stdin.write(password)
                    keyring.stdin.close()
                    keyring.stdout.readline()  # it says where its sockets are once it serves
                    yield SecretService(address, bus, keyring)
                finally:
                    keyring.kill()
        finally:
            bus.kill()
