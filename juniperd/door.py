"""The door: a private folder, one agent per folder, a socket nobody else may reach, and who stands before it.

Kernel facts: ``SO_PEERCRED`` names the process that connected (unix(7)); ``SO_PEERPIDFD`` (Linux 6.5) pins it, so
that the program read from ``/proc`` is the caller's and not that of a process which took over its number.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import stat
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

from juniperd.errors import ConfigError, PeerRefused, StateError
from juniperd.model import Caller

MAX_PATH = 107
BACKLOG = 512
"""Callers who may wait to be let in; a full queue turns the next one away (unix(7), EAGAIN)."""
_SO_PEERPIDFD = 77
_UCRED = struct.Struct("3i")
_FIRST_PASSED = 3
"""systemd passes sockets from this descriptor on (sd_listen_fds(3))."""


class AgentRunning(Exception):
    """Another agent holds this folder: the second starter has nothing to do."""


class Door:
    """The listening socket of one agent; made by :func:`open_door`."""

    def __init__(self, sock: socket.socket, *, path: Path | None, lock: int | None) -> None:
        self.socket = sock
        self._path = path
        self._lock = lock

    def close(self) -> None:
        """Stop listening; a socket that somebody else made stays where it is."""
        self.socket.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)


def open_door(path: Path, environ: Mapping[str, str] = os.environ) -> Door:
    """The door at ``path``: passed in by systemd, or made here. Raises :class:`AgentRunning` for the second starter."""
    passed = _passed_socket(environ)
    if passed is not None:
        return Door(passed, path=None, lock=None)
    check_folder(path.parent)
    if len(os.fsencode(path)) > MAX_PATH:
        msg = f"the socket's path is longer than {MAX_PATH} bytes"
        raise ConfigError(msg, "set JUNIPER_SOCKET to a shorter path")
    lock = _locked(path.with_name(path.name + ".lock"))
    try:
        return Door(_listen(path), path=path, lock=lock)
    except BaseException:
        os.close(lock)
        raise


def open_session_door(path: Path) -> Door:
    """The door of a debugging session, beside the agent's own in a folder that was checked."""
    check_folder(path.parent, make=False)
    if len(os.fsencode(path)) > MAX_PATH:
        msg = f"the session's socket would have a path longer than {MAX_PATH} bytes"
        raise ConfigError(msg, "set JUNIPER_SOCKET to a shorter path, then run: juniper down; juniper up")
    return Door(_listen(path), path=path, lock=None)


def sweep(folder: Path, pattern: str) -> None:
    """Remove the sockets of that name at which nobody answers: an agent that was killed left them."""
    for path in folder.glob(pattern):
        if stat.S_ISSOCK(path.lstat().st_mode) and not _answers(path):
            path.unlink(missing_ok=True)


def check_folder(folder: Path, *, make: bool = True) -> None:
    """Ours, a real folder, and nobody else's business: mode 0700 (:class:`StateError` says which it is not)."""
    try:
        if make:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        msg = f"the socket's folder {folder} cannot be used ({error.strerror})"
        raise StateError(msg, "set JUNIPER_SOCKET to a path in a folder of your own") from None
    if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
        msg = f"{folder} is not a real folder"
        raise StateError(msg, f"run: rm {folder}")
    if found.st_uid != os.getuid():
        msg = f"{folder} belongs to another user"
        raise StateError(msg, "set JUNIPER_SOCKET to a path in a folder of your own")
    if found.st_mode & 0o077:
        msg = f"{folder} is open to other users"
        raise StateError(msg, f"run: chmod 700 {folder}")


def _locked(path: Path) -> int:
    """The folder's lock, held until the process ends, however it ends."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        msg = f"{path} cannot be used as a lock ({error.strerror})"
        raise StateError(msg, f"run: rm {path}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AgentRunning from None
    return descriptor


def _listen(path: Path) -> socket.socket:
    """A socket at ``path``; what lies there is removed only if it is a socket and nobody answers."""
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode comes from the mask, so that there is no moment in which it is wider.
    mask = os.umask(0o177)
    try:
        sock.bind(os.fspath(path))
    except OSError as error:
        sock.close()
        msg = f"no socket can be made at {path} ({error.strerror})"
        raise StateError(msg, "set JUNIPER_SOCKET to a path in a folder of your own") from None
    finally:
        os.umask(mask)
    sock.listen(BACKLOG)
    return sock


def _clear(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        msg = f"{path} is not a socket"
        raise StateError(msg, f"run: rm {path}")
    if _answers(path):
        # Somebody listens without our lock: an agent of another release, or of another folder name.
        raise AgentRunning
    path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _passed_socket(environ: Mapping[str, str]) -> socket.socket | None:
    """The one socket that systemd made for us, checked to be what it should be (sd_listen_fds(3))."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if environ.get("LISTEN_FDS") != "1":
        msg = f"{environ.get('LISTEN_FDS')} sockets were passed in, not one"
        raise ConfigError(msg, "name one ListenStream in juniperd.socket")
    sock = socket.socket(fileno=_FIRST_PASSED)
    sock.set_inheritable(False)
    name = sock.getsockname()
    if sock.family != socket.AF_UNIX or not isinstance(name, str) or not name:
        msg = "the socket passed in is not a Unix socket with a path"
        raise ConfigError(msg, "give ListenStream in juniperd.socket a path")
    if Path(name).lstat().st_mode & 0o077:
        msg = f"the socket {name} is open to other users"
        raise StateError(msg, "set SocketMode=0600 in juniperd.socket")
    check_folder(Path(name).parent, make=False)
    return sock


# --- who stands before it ---------------------------------------------------------------------------------------------


def admit(sock: socket.socket) -> Caller:
    """Who connected; a process of another user is refused before a byte of it is read."""
    pid, uid = _credentials(sock)
    if uid != os.getuid():
        msg = f"user {uid} may not use the agent of user {os.getuid()}"
        raise PeerRefused(msg)
    return Caller(pid, uid)


def _credentials(sock: socket.socket) -> tuple[int, int]:
    if sys.platform == "darwin":
        # struct xucred begins with its version and the uid; LOCAL_PEERPID is beside it (sys/un.h).
        _version, uid = struct.unpack_from("2I", sock.getsockopt(0, 0x001, 76))
        (pid,) = struct.unpack("i", sock.getsockopt(0, 0x002, 4))
        return pid, uid
    pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid


def program_of(sock: socket.socket, caller: Caller) -> str:
    """The caller's program by its path, or ``""``; for the trail only, nothing is decided by it."""
    if sys.platform == "darwin":
        return ""
    try:
        pinned = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        pinned = -1
    try:
        program = str(Path(f"/proc/{caller.pid}/exe").readlink())
    except OSError:
        return ""
    finally:
        gone = pinned >= 0 and _ended(pinned)
        if pinned >= 0:
            os.close(pinned)
    # Read while the process is known to live, the number cannot have passed to another one.
    return "" if gone else program


def _ended(pidfd: int) -> bool:
    """A pidfd becomes readable when its process ends (pidfd_open(2))."""
    watch = select.poll()
    watch.register(pidfd, select.POLLIN)
    return bool(watch.poll(0))
