"""Only an agent of this user's own is asked for anything."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.requirements import require_peer

from .programs import PATIENCE, Helper, refusal

STRANGER = 65_534


def listen_as(uid: int, path: Path, ready: int, heard: int) -> None:
    """In a child: an agent of another user's, which counts the bytes that it is sent."""
    os.setgid(uid)
    os.setuid(uid)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(PATIENCE)
        os.write(ready, b"!")
        connection, _ = listener.accept()
        with connection:
            os.write(heard, f"{len(connection.recv(65_536))} bytes".encode())


@pytest.fixture
def stranger(folder: Path) -> Iterator[tuple[Path, int]]:
    """The socket of another user's agent, and a descriptor that tells what it heard."""
    if os.geteuid() != 0:
        require_peer("root", "only root can be two users at once")
    folder.chmod(0o777)
    path = folder / "stranger.sock"
    is_ready, ready = os.pipe()
    was_heard, heard = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            listen_as(STRANGER, path, ready, heard)
        finally:
            os._exit(0)
    os.close(ready)
    os.close(heard)
    assert os.read(is_ready, 1) == b"!"
    yield path, was_heard
    os.waitpid(child, 0)
    os.close(is_ready)
    os.close(was_heard)


@pytest.mark.parametrize(
    ("setting", "cure"),
    [
        ("JUNIPER_SOCKET", "set JUNIPER_SOCKET to a socket of your own agent"),
        ("JUNIPER_SESSION_SOCKET", "unset JUNIPER_SESSION_SOCKET"),
    ],
)
def test_another_users_agent_is_told_nothing(
    helper: Helper, stranger: tuple[Path, int], setting: str, cure: str
) -> None:
    path, was_heard = stranger
    outcome = helper.run("--scope", "invoice-archive-writer", env={setting: str(path)})
    assert outcome == refusal(f"the agent at {path} belongs to uid {STRANGER}, not to you; {cure}")
    assert os.read(was_heard, 64) == b"0 bytes"
