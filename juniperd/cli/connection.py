"""The command line's way to the agent: the helpers' socket and frames, synchronous, without the daemon's imports."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from juniperd import wire
from juniperd.errors import AgentMissing, JuniperError, PeerRefused, ProtocolError, one_line
from juniperd.paths import socket_path

Event = Mapping[str, object]
BEAT = 0.2
"""Seconds between two calls of what a caller does meanwhile."""
WARNING_TIME = 0.5
"""Seconds a verb waits for what it says beside its own answer."""
_READ = 65_536


class AgentSaid(JuniperError):
    """An error the agent already put into words for the person; the text is passed on as it came."""

    remedy = ""

    def __init__(self, text: str, exit_status: int) -> None:
        super().__init__(text.removeprefix("juniper: "))
        self.exit_status = exit_status


def peer_uid(connection: socket.socket) -> int:
    """The uid of the process that listens at the other end (unix(7) SO_PEERCRED; LOCAL_PEERCRED on macOS)."""
    if sys.platform == "darwin":
        credentials = connection.getsockopt(0, 1, 76)
        return int(struct.unpack_from("=II", credentials)[1])
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def connect(path: Path, timeout: float) -> socket.socket:
    """A connection to an agent of our own uid, else the error that says what to do."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        connection.connect(os.fspath(path))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        msg = "no agent is running"
        raise AgentMissing(msg) from None
    except OSError as error:
        connection.close()
        msg = f"the agent's socket cannot be used ({error.strerror or error})"
        raise AgentMissing(msg) from None
    if peer_uid(connection) != os.getuid():
        connection.close()
        msg = f"the agent at {path} belongs to another user"
        raise PeerRefused(msg)
    return connection


def ask(
    verb: str,
    parameters: Mapping[str, object] | None = None,
    *,
    timeout: float = 30.0,
    meanwhile: Callable[[], None] | None = None,
) -> Iterator[Event]:
    """The agent's events for one control request, as they come; the last one is its result.

    ``timeout`` bounds the silence between two frames, in seconds; in it ``meanwhile`` is called every :data:`BEAT`.
    """
    argv = (b"juniper", verb.encode(), json.dumps(dict(parameters or {})).encode())
    with connect(socket_path(), timeout) as connection:
        connection.sendall(wire.encode_request(wire.Request(argv)))
        yield from _events(connection, meanwhile)


def result(verb: str, parameters: Mapping[str, object] | None = None, *, timeout: float = 30.0) -> Event:
    """The last event of a control request."""
    *_, last = [{}, *ask(verb, parameters, timeout=timeout)]
    return last


def warn() -> None:
    """Say on a terminal that a sign-in will end soon, where the agent has not had it said already."""
    if sys.stderr is None or not sys.stderr.isatty():  # None: who ran us has closed it
        return
    try:
        warnings = result("warnings", timeout=WARNING_TIME).get("warnings")
    except JuniperError:
        return  # whoever has something to say about the agent is the verb itself
    for warning in warnings if isinstance(warnings, list) else ():
        print(one_line(f"juniper: {warning['issuer']}: {warning['text']}"), file=sys.stderr)


def as_tool(path: Path, argv: Sequence[str], *, timeout: float) -> bytes:
    """What a helper called ``argv`` would print; the agent's own line where it would fail."""
    written, complaint = b"", b""
    with connect(path, timeout) as connection:
        connection.sendall(wire.encode_request(wire.Request(tuple(word.encode() for word in argv))))
        for frame in _frames(connection):
            if frame.kind == "o":
                written += frame.payload
            elif frame.kind == "e":
                complaint += frame.payload
            elif frame.kind == "x" and (frame.payload != b"\0" or complaint):
                text = complaint.decode(errors="replace").strip() or "the agent failed"
                raise AgentSaid(text, frame.payload[0] if frame.payload else 1)
    return written


def _events(connection: socket.socket, meanwhile: Callable[[], None] | None) -> Iterator[Event]:
    text, complaint = b"", b""
    for frame in _frames(connection, meanwhile):
        if frame.kind == "o":
            *lines, text = (text + frame.payload).split(b"\n")
            yield from (json.loads(line) for line in lines if line)
        elif frame.kind == "e":
            complaint += frame.payload
        elif frame.kind == "x":
            status = frame.payload[0] if frame.payload else 1
            if status or complaint:
                raise AgentSaid(complaint.decode(errors="replace").strip() or "the agent failed", status)
            return


def _frames(connection: socket.socket, meanwhile: Callable[[], None] | None = None) -> Iterator[wire.Frame]:
    decoder = wire.Decoder()
    while True:
        if meanwhile is not None:
            _pass_time(connection, meanwhile)
        try:
            data = connection.recv(_READ)
        except TimeoutError:
            msg = "the agent does not answer"
            raise AgentMissing(msg, "run: juniper down; juniper up") from None
        except OSError:
            data = b""
        if not data:
            msg = "the agent went away before it had answered"
            raise ProtocolError(msg, "run: juniper up")
        for frame in decoder.feed(data):
            yield frame
            if frame.kind == "x":
                return


def _pass_time(connection: socket.socket, meanwhile: Callable[[], None]) -> None:
    """Until there is something to read, or its time is over, which reading then says."""
    limit = time.monotonic() + (connection.gettimeout() or 0.0)
    while time.monotonic() < limit and not select.select([connection], [], [], BEAT)[0]:
        meanwhile()
