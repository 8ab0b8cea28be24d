"""The agent as a process: it takes the door, hardens itself, and serves until it is told to end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from juniperd import __version__, memory, paths
from juniperd import config as configuration
from juniperd.agent import Agent
from juniperd.config import Config
from juniperd.door import AgentRunning, Door, open_door
from juniperd.errors import ConfigError, ProtocolError, StateError, TokenRejected
from juniperd.identity import SubjectToken
from juniperd.jose import SigningKey
from juniperd.journal import Journal
from juniperd.model import Clock, Secret
from juniperd.protocols import discover
from juniperd.upgrade import command

UNCONFIGURED_LIFE = 2.0
"""Seconds an agent without a usable configuration stays to say so; the next one reads the file anew."""
IDLE_BEFORE_IMPORTS = 1.0
_LONGEST_JOB = 64 * 1024
"""Bytes of a token and a key, with room."""
_KEPT_VARIABLES = frozenset({"HOME", "USER", "LANG", "PATH", "TMPDIR", "DBUS_SESSION_BUS_ADDRESS"})
_KEPT_FAMILIES = ("XDG_", "JUNIPER_", "LC_")


async def agent(
    config: Config,
    door: Door,
    *,
    journal: Journal,
    clock: Clock = time.time,
    problem: ConfigError | None = None,
    ready: Callable[[], None] = lambda: None,
    job: SubjectToken | None = None,
) -> bool:
    """Run one agent at ``door`` until SIGTERM, SIGINT or ``juniper down``; true where it gives way to its upgrade.

    The agent of a ``job`` ends also with its standard input, which whoever started it holds open.
    """
    made = Agent(config, clock=clock, journal=journal, problem=problem, job=job)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, made.leave)
    if problem is not None:
        loop.call_later(UNCONFIGURED_LIFE, made.leave)
    elif config.store == "keyring":
        loop.call_later(IDLE_BEFORE_IMPORTS, made.import_ahead)
    if job is not None:
        loop.add_reader(sys.stdin.fileno(), made.leave)
    loop.call_soon(ready)
    await made.serve(door, socket_path=door.path)
    return made.gives_way


def run_agent() -> int:
    """``juniperd``: harden the process, take the door, serve. The second starter ends at once, with status 0."""
    harden()
    paths.check_environment(os.environ)
    try:
        door = open_door(paths.socket_path())
    except AgentRunning:
        return 0
    ready = partial(notify, os.environ.get("NOTIFY_SOCKET", ""))
    scrub_environment()
    journal = Journal(sys.stderr, time.time)
    config, problem = _configuration()
    if problem is not None:
        journal.note("unconfigured", reason=str(problem))
    if asyncio.run(agent(config, door, journal=journal, problem=problem, ready=ready)):
        become_successor(door)
    return 0


def run_job_agent() -> int:
    """``juniperd --job``: the agent of one job; one line of JSON on standard input says its token and where its key is."""
    harden()
    door = open_door(paths.socket_path())
    subject = _job(sys.stdin.buffer.readline(_LONGEST_JOB))
    scrub_environment()
    journal = Journal(sys.stderr, time.time)
    asyncio.run(agent(configuration.load(paths.config_path()), door, journal=journal, job=subject))
    return 0


def _job(line: bytes) -> SubjectToken:
    try:
        said = json.loads(line)
        token, path = Secret(str(said["token"])), Path(str(said["key_file"]))
    except (ValueError, TypeError, KeyError):
        msg = "no job's token came on standard input"
        raise ProtocolError(msg, "run: juniper ci -- COMMAND") from None
    return SubjectToken(token, _key(path))


def _key(path: Path) -> SigningKey:
    """The job's key, made by the first of its agents: whichever link is there first is everybody's."""
    try:
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(SigningKey.generate_es256().to_pem().reveal())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
        return SigningKey.from_pem(path.read_bytes())
    except (OSError, TokenRejected) as error:
        msg = f"the job's key {path} cannot be used ({error})"
        raise StateError(msg, f"run: rm -r {path.parent}") from None


def version() -> str:
    """This release, told only by a program that has loaded whole: an upgrade is tried before it is trusted."""
    discover()
    return __version__


def become_successor(door: Door) -> None:
    """The program on disk takes this one's place, process, door and lock; who knocks meanwhile waits in the queue."""
    program, *arguments = command()
    try:
        os.execve(program, [program, *arguments], {**os.environ, **door.pass_on()})  # noqa: S606 - our own program
    except OSError as error:
        msg = f"the upgraded juniperd cannot be started ({error.strerror})"
        raise StateError(msg, "reinstall juniperd") from None


def notify(address: str) -> None:
    """Tell systemd that the agent answers (sd_notify(3)); nobody need listen."""
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.connect("\0" + address[1:] if address.startswith("@") else address)
        manager.send(b"READY=1")


def _configuration() -> tuple[Config, ConfigError | None]:
    """The configuration, or none and the reason: who asks a detached agent for something has to read it."""
    path = paths.config_path()
    try:
        return configuration.load(path), None
    except ConfigError as error:
        return Config(path, issuers={}, store="memory"), error


def harden() -> None:
    """Keep memory out of core files and from other processes of this user, and files from other users."""
    os.umask(0o077)
    memory.keep_private()


def scrub_environment() -> None:
    """Drop what might steer a library of ours: proxies, CA files, everybody's AWS_ variables."""
    for name in tuple(os.environ):
        if name not in _KEPT_VARIABLES and not name.startswith(_KEPT_FAMILIES):
            del os.environ[name]
