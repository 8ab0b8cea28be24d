"""The way from `juniper sandbox idp|gitlab|sts` to the running sandbox: one JSON line each way on a private socket."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from juniperd.sandbox.folder import SandboxError
from juniperd.sandbox.world import Unknown

LIMIT: Final = 64 * 1024
PATIENCE: Final = 15.0
Act = Callable[[Sequence[str]], str]


async def serve(path: Path, act: Act) -> asyncio.Server:
    """Answer on this socket; only this user may open it."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            words = json.loads(await reader.readline())
            writer.write(_answer(act, words))
            await writer.drain()
        except (ValueError, ConnectionError):
            return  # a caller that went away, or sent something else than a line of JSON, gets no answer
        finally:
            writer.close()

    return await asyncio.start_unix_server(one, sock=_private_socket(path), limit=LIMIT)


def _private_socket(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.fsencode(path))
    path.chmod(0o600)
    return listener


def _answer(act: Act, words: Sequence[str]) -> bytes:
    try:
        answer = {"said": act(words)}
    except Unknown as problem:
        answer = {"problem": str(problem)}
    return json.dumps(answer).encode() + b"\n"


def ask(path: Path, words: Sequence[str]) -> str:
    """What the sandbox says to these words, or `SandboxError`."""
    here = os.fsencode(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(PATIENCE)
        try:
            line.connect(here)
            line.sendall(json.dumps(list(words)).encode() + b"\n")
            text = line.makefile().readline()
        except OSError as problem:
            raise SandboxError(
                f"the sandbox does not answer ({problem.strerror or problem}); "
                "look into its log folder, or bring it up again"
            ) from problem
    answer = json.loads(text or '{"problem": "the sandbox gave no answer; look into its log folder"}')
    if "problem" in answer:
        raise SandboxError(str(answer["problem"]))
    return str(answer["said"])
