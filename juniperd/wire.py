"""Frames between helper and agent: bytes in, values out; no sockets here.

Each side's first byte is its frame version. Then frames: one type byte, a 32-bit big-endian length, the payload.
This layout is the same in every version, so that two programs of different ages can still tell each other the cure.

======  ==============  ==============================================
type    from            payload
======  ==============  ==============================================
``a``   helper          one element of argv; the first is the name the helper was called by
``v``   helper          ``NAME=value``, for the names in :data:`VARIABLES` alone
``g``   helper          empty: the request is complete
``i``   helper          a piece of standard input, after it was asked for; empty means the end
``o``   agent           bytes for standard output
``e``   agent           bytes for standard error
``s``   agent           empty: send me standard input
``x``   agent           one byte: exit status; the last frame
======  ==============  ==============================================
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from juniperd.errors import ProtocolError

VERSION = 1
SPOKEN = frozenset({1})
"""What an agent understands, and answers in: the current version and, once there is one, the version before it.

A helper speaks one. An older one finds an agent that still speaks it; a newer one finds an agent that becomes the new
one by itself (:mod:`juniperd.upgrade`), and until then the cure.
"""

VARIABLES = frozenset({"KUBERNETES_EXEC_INFO", "JUNIPER_QUIET"})
"""Every variable a helper may send; each belongs to one tool's protocol."""

MAX_PAYLOAD = 65_536
MAX_REQUEST = 131_072
MAX_FRAMES = 256
MAX_STDIN = 1_048_576
MAX_INPUT = 131_072
"""Bytes of it that the agent reads: what a tool says of one host is short."""

_HEADER = struct.Struct("!cI")
_KINDS = frozenset("avgioesx")


class Frame(NamedTuple):
    """One frame, decoded."""

    kind: str
    payload: bytes = b""


class Request(NamedTuple):
    """What a helper asks: argv as it was called, the named variables it had, and its input where that was asked for."""

    argv: tuple[bytes, ...]
    variables: Mapping[str, str] = MappingProxyType({})
    stdin: bytes = b""

    @property
    def name(self) -> str:
        """The name the helper was called by."""
        return self.argv[0].decode(errors="replace")

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments without the name, as text."""
        return tuple(a.decode(errors="surrogateescape") for a in self.argv[1:])


def encode(frame: Frame) -> bytes:
    """One frame as bytes; a payload over the limit is a programming error and refused."""
    if len(frame.payload) > MAX_PAYLOAD:
        msg = f"frame of {len(frame.payload)} bytes, {MAX_PAYLOAD} are allowed"
        raise ProtocolError(msg)
    return _HEADER.pack(frame.kind.encode(), len(frame.payload)) + frame.payload


def encode_bytes(kind: str, data: bytes) -> bytes:
    """``data`` as as many frames of one kind as it needs (none for no data)."""
    return b"".join(encode(Frame(kind, data[i : i + MAX_PAYLOAD])) for i in range(0, len(data), MAX_PAYLOAD))


def encode_request(request: Request) -> bytes:
    """A whole request as a helper sends it, version byte first."""
    parts = [bytes([VERSION])]
    parts += [encode(Frame("a", a)) for a in request.argv]
    parts += [encode(Frame("v", f"{name}={value}".encode())) for name, value in request.variables.items()]
    parts.append(encode(Frame("g")))
    return b"".join(parts)


def encode_exit(status: int) -> bytes:
    """The last frame: exit status, 0 to 255."""
    return encode(Frame("x", bytes([status])))


class Decoder:
    """Bytes in, frames out; checks every limit before it keeps a byte.

    ``version`` is the peer's version byte, ``None`` until it came.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.version: int | None = None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that ``data`` completes, in order; raises :class:`ProtocolError` at the first broken one."""
        self._buffer += data
        if self.version is None and self._buffer:
            self.version = self._buffer.pop(0)
        while (frame := self._next()) is not None:
            yield frame

    @property
    def mid_frame(self) -> bool:
        """Whether bytes of an unfinished frame are waiting: an end of the stream now is a broken peer."""
        return bool(self._buffer)

    def _next(self) -> Frame | None:
        if len(self._buffer) < _HEADER.size:
            return None
        kind, length = _HEADER.unpack_from(self._buffer)
        name = kind.decode("latin-1")
        if name not in _KINDS:
            msg = f"unknown frame type 0x{kind[0]:02x}"
            raise ProtocolError(msg)
        if length > MAX_PAYLOAD:
            msg = f"frame of {length} bytes, {MAX_PAYLOAD} are allowed"
            raise ProtocolError(msg)
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        return Frame(name, payload)


class RequestReader:
    """Gathers the frames of one request; answers it when ``g`` comes."""

    def __init__(self) -> None:
        self._argv: list[bytes] = []
        self._variables: dict[str, str] = {}
        self._size = 0
        self._frames = 0

    def take(self, frame: Frame) -> Request | None:
        """One more frame; the request once it is complete."""
        self._frames += 1
        self._size += len(frame.payload)
        if self._frames > MAX_FRAMES or self._size > MAX_REQUEST:
            msg = f"request over {MAX_REQUEST} bytes or {MAX_FRAMES} frames"
            raise ProtocolError(msg)
        if frame.kind == "g":
            return self._complete()
        if frame.kind == "a":
            self._argv.append(frame.payload)
        elif frame.kind == "v":
            self._take_variable(frame.payload)
        else:
            msg = f"frame '{frame.kind}' before the request was complete"
            raise ProtocolError(msg)
        return None

    def _take_variable(self, payload: bytes) -> None:
        name, found, value = payload.decode(errors="surrogateescape").partition("=")
        if not found or name not in VARIABLES:
            msg = "variable that no protocol names"
            raise ProtocolError(msg)
        self._variables[name] = value

    def _complete(self) -> Request:
        if not self._argv:
            msg = "request without a name"
            raise ProtocolError(msg)
        return Request(tuple(self._argv), self._variables)


class InputReader:
    """Gathers the pieces of standard input that were asked for."""

    def __init__(self) -> None:
        self._input = bytearray()

    def take(self, frame: Frame) -> bytes | None:
        """One more frame; all of the input once it has ended."""
        if frame.kind != "i":
            msg = f"frame '{frame.kind}' where standard input should be"
            raise ProtocolError(msg)
        if not frame.payload:
            return bytes(self._input)
        self._input += frame.payload
        if len(self._input) > MAX_INPUT:
            msg = f"the input is longer than {MAX_INPUT} bytes"
            raise ProtocolError(msg, "send less")
        return None
