"""The administrator's door: a Unix socket of mode 0600 in the state folder, for the issuer's own uid alone.

One JSON object a line each way. Where no issuer runs, the caller takes the data folder's lock and does it itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from juniperd.errors import JuniperError, StateError
from juniperd.issuer.desk import Desk, Document

NAME = "admin.sock"
MAX_LINE = 64 * 1024
_LONGEST_PATH = 100
_WAIT = 10.0


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A path to the socket short enough for ``sun_path``: a deep folder is reached through its descriptor."""
    path = str(folder / NAME)
    if len(os.fsencode(path)) <= _LONGEST_PATH or sys.platform != "linux":
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)


def peer_uid(connection: socket.socket, platform: str = sys.platform) -> int:
    """The uid at the other end, as the kernel says."""
    if platform == "linux":
        return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])
    # struct xucred of sys/ucred.h: version, uid, groups; LOCAL_PEERCRED is 1 at level 0.
    return int(struct.unpack_from("2I", connection.getsockopt(0, 1, 76))[1])


@asynccontextmanager
async def door(folder: Path, desk: Desk) -> AsyncIterator[None]:
    """Answer administrators from here to the end of the block; the lock is ours, so a socket left over is nobody's."""
    (folder / NAME).unlink(missing_ok=True)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            await _serve(desk, reader, writer)
        writer.close()

    with _short(folder) as path:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
    server = await asyncio.start_unix_server(answer, sock=listener, limit=MAX_LINE)
    try:
        yield
    finally:
        server.close()
        (folder / NAME).unlink(missing_ok=True)


async def _serve(desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if peer_uid(writer.get_extra_info("socket")) != os.geteuid():
        return
    try:
        line = await asyncio.wait_for(reader.readline(), _WAIT)
        asked = json.loads(line)
        document = {"ok": True, "result": await desk.act(str(asked["verb"]), dict(asked.get("params") or {}))}
    except JuniperError as error:
        document = {"ok": False, "message": error.message, "remedy": error.remedy, "status": error.exit_status}
    except (ValueError, KeyError, TypeError, AttributeError):
        document = {"ok": False, "message": "the request was not understood", "remedy": "upgrade juniperd", "status": 1}
    writer.write(json.dumps(document).encode() + b"\n")
    await writer.drain()


def ask(folder: Path, verb: str, params: Mapping[str, object]) -> Document | None:
    """What the running issuer answers; None where none runs."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_WAIT)
    try:
        with _short(folder) as path:
            connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        msg = f"the issuer's admin socket in {folder} cannot be reached ({error.strerror})"
        raise StateError(msg, "run as the user who runs the issuer") from None
    with connection:
        try:
            connection.sendall(json.dumps({"verb": verb, "params": dict(params)}).encode() + b"\n")
            line = connection.makefile("rb").readline(MAX_LINE * 16)
            answer = json.loads(line)
        except (OSError, ValueError):
            msg = "the issuer did not answer"
            raise StateError(msg, "look at the issuer's log") from None
    return _result(answer)


def _result(answer: Mapping[str, object]) -> Document:
    if answer.get("ok") and isinstance(answer.get("result"), dict):
        return dict(answer["result"])  # type: ignore[call-overload,no-any-return]  # a dict, as just seen
    error = StateError(str(answer.get("message")), str(answer.get("remedy")))
    status = answer.get("status")
    error.exit_status = status if isinstance(status, int) else 1
    raise error
