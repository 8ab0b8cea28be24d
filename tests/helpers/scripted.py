"""An agent that does what a test's script says: a real Unix socket, one thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from juniperd import wire

from .programs import PATIENCE


class Talk:
    """The agent's end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        self.connection = connection

    def hear(self, size: int) -> bytes:
        """As many bytes as asked for, or what came before the end."""
        heard = b""
        while len(heard) < size and (piece := self.connection.recv(size - len(heard))):
            heard += piece
        return heard

    def rest(self) -> bytes:
        """All that comes until the helper is gone."""
        heard = b""
        try:
            while piece := self.connection.recv(65_536):
                heard += piece
        except ConnectionResetError:
            return heard
        return heard

    def frame(self) -> wire.Frame:
        """One frame of the helper's, read by its header alone."""
        header = self.hear(5)
        return wire.Frame(chr(header[0]), self.hear(int.from_bytes(header[1:])))

    def request(self) -> wire.Request:
        """The helper's whole request, as the agent reads it."""
        assert self.hear(1) == bytes([wire.VERSION])
        reader = wire.RequestReader()
        while (request := reader.take(self.frame())) is None:
            continue
        return request

    def say(self, data: bytes, *, by_bytes: bool = False) -> None:
        """Sends raw bytes, at once or one by one; a helper that has left is not missed."""
        try:
            for piece in [data[i : i + 1] for i in range(len(data))] if by_bytes else [data]:
                self.connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            return

    def greet(self) -> None:
        """The agent's version byte."""
        self.say(bytes([wire.VERSION]))

    def answer(self, stdout: bytes = b"", *, status: int = 0) -> None:
        """A whole answer."""
        self.say(bytes([wire.VERSION]) + wire.encode_bytes("o", stdout) + wire.encode_exit(status))


Script = Callable[[Talk], None]


class ScriptedAgent:
    """Plays one script for each call, one after the other; what fails in a script fails the test when it ends."""

    def __init__(self, path: Path, *scripts: Script) -> None:
        self.path = path
        self._scripts = scripts
        self._failure: BaseException | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._listener.settimeout(PATIENCE)
        self._thread = threading.Thread(target=self._play)

    def _play(self) -> None:
        try:
            for script in self._scripts:
                connection, _ = self._listener.accept()
                with connection:
                    script(Talk(connection))
        except Exception as failure:  # noqa: BLE001  # carried to the test's own thread by __exit__
            self._failure = failure

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes an accept that nobody will come for
        self._thread.join(PATIENCE)
        self._listener.close()
        if error is None and self._failure is not None:
            raise self._failure
