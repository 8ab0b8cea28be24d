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
from collections.abc import Collection, Mapping, MutableMapping
from pathlib import Path

from juniperd.errors import ConfigError, PeerRefused, StateError, one_line
from juniperd.model import Caller

MAX_PATH = 107
BACKLOG = 512
"""Callers who may wait to be let in; a full queue turns the next one away (unix(7), EAGAIN)."""
_SO_PEERPIDFD = 77
_UCRED = struct.Struct("3i")
_FIRST_PASSED = 3
"""systemd passes sockets from this descriptor on (sd_listen_fds(3))."""
_SOCKET, _LOCK = "agent", "lock"
"""Names of the descriptors that an agent passes to its successor."""


class AgentRunning(Exception):
    """Another agent holds this folder: the second starter has nothing to do."""


class Door:
    """A listening socket; made by :func:`open_door` and :func:`open_session_door`.

    ``lock`` is ours where the agent's socket is: who is handed one by systemd unlinks nothing, and is started only once.
    """

    def __init__(self, sock: socket.socket, *, lock: int | None, made: bool = False) -> None:
        self.socket = sock
        self.path = Path(sock.getsockname())
        self._lock = lock
        self._made = made or lock is not None
        self._found = _identity(self.path)
        self._kept: int | None = None

    def keep(self) -> None:
        """From now on :meth:`close` leaves the door to the program that :meth:`pass_on` hands it to.

        Who knocks in between waits in the queue of the socket, which stays open.
        """
        self._kept = os.dup(self.socket.fileno())

    def lost(self) -> bool:
        """Whether nobody can knock any more: a logout took the folder away, or another socket our place in it."""
        return self._found != _identity(self.path)

    def close(self) -> None:
        """Stop listening; a socket that somebody else made stays where it is, at our path too."""
        self.socket.close()
        if self._kept is not None:
            return
        if self._made and not self.lost():
            self.path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)

    def pass_on(self) -> Mapping[str, str]:
        """Put what was kept where the next program of this process looks for it; the variables that tell it so.

        It is systemd's own way (sd_listen_fds(3)), with the lock as a second descriptor where the socket is ours.
        """
        held = {name: fd for name, fd in ((_SOCKET, self._kept), (_LOCK, self._lock)) if fd is not None}
        # Out of the way first: a target may be the number that another of them has now.
        moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_PASSED + len(held)) for fd in held.values()]
        for target, fd in enumerate(moved, _FIRST_PASSED):
            os.dup2(fd, target, inheritable=True)
        return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(held)), "LISTEN_FDNAMES": ":".join(held)}


def open_door(path: Path, environ: MutableMapping[str, str] = os.environ) -> Door:
    """The door at ``path``, or the one passed in; raises :class:`AgentRunning` for the second starter.

    What told us of passed descriptors is taken out of ``environ``: it is not meant for our children.
    """
    passed = _passed(environ)
    if passed:
        return _taken_over(passed)
    check_folder(path.parent)
    if len(os.fsencode(path)) > MAX_PATH:
        msg = f"the socket's path is longer than {MAX_PATH} bytes"
        raise ConfigError(msg, "set JUNIPER_SOCKET to a shorter path")
    lock = _locked(_lock_of(path))
    try:
        return Door(_listen(path), lock=lock)
    except BaseException:
        os.close(lock)
        raise


def open_session_door(path: Path) -> Door:
    """The door of a debugging session, beside the agent's own in a folder that was checked."""
    check_folder(path.parent, make=False)
    if len(os.fsencode(path)) > MAX_PATH:
        msg = f"the session's socket would have a path longer than {MAX_PATH} bytes"
        raise ConfigError(msg, "set JUNIPER_SOCKET to a shorter path, then run: juniper down; juniper up")
    return Door(_listen(path), lock=None, made=True)


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


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What tells the socket at ``path`` from any that takes its place, as systemd's does when its unit is started."""
    try:
        return _marks(path.lstat())
    except OSError:
        return None


def _marks(found: os.stat_result) -> tuple[int, int, int]:
    # The time too: a file system may give the number of a file that is gone to the next one.
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


# --- passed in --------------------------------------------------------------------------------------------------------


def _passed(environ: MutableMapping[str, str]) -> dict[str, int]:
    """The descriptors passed to this process, by name: one from systemd, or what :meth:`Door.pass_on` left."""
    pid, count, names = (environ.pop(f"LISTEN_{what}", "") for what in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()):
        return {}
    if (count, names) == ("2", f"{_SOCKET}:{_LOCK}"):
        return {_SOCKET: _FIRST_PASSED, _LOCK: _FIRST_PASSED + 1}
    if count != "1":
        msg = f"{one_line(count) or 'no'} sockets were passed in, not one"
        raise ConfigError(msg, "name one ListenStream in juniperd.socket")
    return {_SOCKET: _FIRST_PASSED}


def _taken_over(passed: Mapping[str, int]) -> Door:
    """The socket that was passed in, checked to be what we would have made."""
    sock = _listening(passed[_SOCKET])
    path = Path(sock.getsockname())
    _check_mode(path)
    check_folder(path.parent, make=False)
    lock = passed.get(_LOCK)
    if lock is not None:
        fcntl.fcntl(lock, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        if _marks(os.fstat(lock)) != _identity(_lock_of(path)):
            msg = f"{_lock_of(path)} is not the lock that this agent holds"
            raise StateError(msg, "run: juniper up")
    return Door(sock, lock=lock)


def _listening(descriptor: int) -> socket.socket:
    """A Unix socket with a path at which somebody listens (sd_is_socket_unix(3))."""
    cure = "give juniperd.socket one ListenStream, with a path"
    try:
        sock = socket.socket(fileno=descriptor)
        sock.set_inheritable(False)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        msg = f"what was passed in is no socket ({error.strerror})"
        raise ConfigError(msg, cure) from None
    name = sock.getsockname()
    if not listens or sock.family != socket.AF_UNIX or not isinstance(name, str) or not name:
        msg = "what was passed in is not a Unix socket that listens at a path"
        raise ConfigError(msg, cure)
    return sock


def _check_mode(path: Path) -> None:
    try:
        found = path.lstat()
    except OSError as error:
        msg = f"the socket passed in is not at {path} any more ({error.strerror})"
        raise StateError(msg, "run: systemctl --user restart juniperd.socket") from None
    if found.st_mode & 0o077:
        msg = f"the socket {path} is open to other users"
        raise StateError(msg, "set SocketMode=0600 in juniperd.socket")


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


def program_of(sock: socket.socket, caller: Caller, helpers: Collection[str] = ()) -> str:
    """The caller's program by its path, or ``""``; for the trail only, nothing is decided by it.

    Of a caller that is one of the ``helpers`` the program that ran it counts, by its name: ``aws`` says more than the
    path of our own helper, or of the interpreter that ``aws`` is written for.
    """
    if sys.platform == "darwin":
        return ""
    try:
        pinned = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        pinned = -1
    try:
        # Asked for with every warm answer, of which a Path alone would be a tenth.
        program = os.readlink(f"/proc/{caller.pid}/exe")  # noqa: PTH115 - as said
        if program.rpartition("/")[2] in helpers:
            program = _name_of_parent(caller.pid) or program
    except OSError:
        return ""
    finally:
        gone = pinned >= 0 and _ended(pinned)
        if pinned >= 0:
            os.close(pinned)
    # Read while the process is known to live, the number cannot have passed to another one.
    return "" if gone else program


def _name_of_parent(pid: int) -> str:
    """What the program that started a process is called (proc(5), ``stat`` and ``comm``); ``""`` where it has gone."""
    with open(f"/proc/{pid}/stat", "rb", buffering=0) as stat:  # noqa: PTH123 - as above
        # The name in brackets may hold anything, brackets too.
        parent = int(stat.read(4096).rpartition(b")")[2].split()[1])
    if parent <= 1:
        return ""
    with open(f"/proc/{parent}/comm", "rb", buffering=0) as comm:  # noqa: PTH123 - as above
        return one_line(comm.read(64).decode(errors="replace"), 64)


def _ended(pidfd: int) -> bool:
    """A pidfd becomes readable when its process ends (pidfd_open(2))."""
    watch = select.poll()
    watch.register(pidfd, select.POLLIN)
    return bool(watch.poll(0))
