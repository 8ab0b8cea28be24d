"""The door: a private folder, one agent, a socket of our own, and nobody else's process."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from juniperd.door import AgentRunning, Door, admit, check_folder, open_door, program_of
from juniperd.errors import ConfigError, StateError
from juniperd.model import Caller
from tests.requirements import require_peer

from .harness import Running

pytestmark = pytest.mark.as_user

ORDINARY = 65534
"""The uid of "nobody": root hides mistakes with modes."""


@pytest.fixture
def door(folder: Path) -> Iterator[Door]:
    made = open_door(folder / "agent.sock")
    yield made
    made.close()


def test_folder_and_socket_are_nobody_elses(folder: Path) -> None:
    path = folder / "deep" / "agent.sock"
    before = os.umask(0o000)
    try:
        door = open_door(path)
    finally:
        os.umask(before)
    try:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE((path.parent / "agent.sock.lock").stat().st_mode) == 0o600
    finally:
        door.close()
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o750, 0o755, 0o777, 0o702])
def test_a_folder_open_to_others_is_refused_with_the_cure(folder: Path, mode: int) -> None:
    loose = folder / "loose"
    loose.mkdir()
    loose.chmod(mode)
    with pytest.raises(StateError) as refused:
        open_door(loose / "agent.sock")
    assert str(refused.value).endswith(f"run: chmod 700 {loose}")
    assert list(loose.iterdir()) == []


def test_a_link_in_place_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "real").mkdir(mode=0o700)
    (folder / "link").symlink_to(folder / "real")
    with pytest.raises(StateError, match="not a real folder"):
        open_door(folder / "link" / "agent.sock")


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_a_lock_that_is_no_file_is_refused_with_the_cure(folder: Path, kind: str) -> None:
    lock = folder / "agent.sock.lock"
    lock.symlink_to(folder / "elsewhere") if kind == "link" else lock.mkdir()
    with pytest.raises(StateError, match="cannot be used as a lock") as refused:
        open_door(folder / "agent.sock")
    assert str(refused.value).endswith(f"run: rm {lock}")
    assert not (folder / "elsewhere").exists()


def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    if os.getuid() != 0:
        require_peer("root", "only root can make a folder of another user's")
    foreign = folder / "foreign"
    foreign.mkdir(mode=0o700)
    os.chown(foreign, ORDINARY, ORDINARY)
    with pytest.raises(StateError, match="belongs to another user"):
        check_folder(foreign)


def test_a_file_in_place_of_the_folder_or_the_socket_is_kept(folder: Path) -> None:
    (folder / "file").write_text("mine")
    with pytest.raises((StateError, FileExistsError, NotADirectoryError)):
        check_folder(folder / "file", make=False)
    with pytest.raises(StateError, match="not a socket"):
        open_door(folder / "file")
    assert (folder / "file").read_text() == "mine"


def test_a_path_too_long_for_a_socket_names_the_variable(folder: Path) -> None:
    with pytest.raises(ConfigError, match="107"):
        open_door(folder / ("x" * 120))


def test_a_stale_socket_is_replaced(folder: Path) -> None:
    path = folder / "agent.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    door = open_door(path)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
    door.close()


def test_a_socket_that_answers_is_left_alone(folder: Path) -> None:
    path = folder / "agent.sock"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(1)
        with pytest.raises(AgentRunning):
            open_door(path)
        assert path.exists()


def test_the_second_starter_has_nothing_to_do(door: Door, folder: Path) -> None:
    assert door.socket.fileno() >= 0
    with pytest.raises(AgentRunning):
        open_door(folder / "agent.sock")


def in_child(check: Callable[[], bool]) -> bool:
    """Whether ``check`` holds in a process of its own, whose descriptors it may rearrange."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if check() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def passing(count: str = "1", names: str = "juniperd.socket") -> dict[str, str]:
    """The variables of sd_listen_fds(3) for this process."""
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count, "LISTEN_FDNAMES": names, "HOME": "/"}


def listening(path: Path, mode: int = 0o600) -> None:
    """A socket at ``path`` as descriptor 3."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    path.chmod(mode)
    made.listen(1)
    os.dup2(made.fileno(), 3)


def refusal_of(path: Path) -> str:
    """How the door says no to descriptor 3."""
    with pytest.raises((ConfigError, StateError)) as refused:
        open_door(path, passing())
    return str(refused.value)


def test_a_socket_passed_in_is_used_and_never_unlinked(folder: Path) -> None:
    path = folder / "agent.sock"

    def check() -> bool:
        listening(path)
        environ = passing()
        door = open_door(folder / "elsewhere.sock", environ)
        good = door.path == path and door.socket.fileno() == 3 and not os.get_inheritable(3)
        door.close()
        return good and path.exists() and environ == {"HOME": "/"}

    assert in_child(check)
    assert not (folder / "elsewhere.sock").exists()


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o601])
def test_a_socket_passed_in_that_others_may_use_is_refused_with_the_cure(folder: Path, mode: int) -> None:
    path = folder / "agent.sock"

    def check() -> bool:
        listening(path, mode)
        return refusal_of(path).endswith("is open to other users; set SocketMode=0600 in juniperd.socket")

    assert in_child(check)
    assert path.exists()


def test_a_socket_passed_in_whose_folder_is_open_is_refused(folder: Path) -> None:
    def check() -> bool:
        listening(folder / "agent.sock")
        folder.chmod(0o755)
        return refusal_of(folder / "agent.sock").endswith(f"is open to other users; run: chmod 700 {folder}")

    assert in_child(check)


def test_a_socket_passed_in_that_is_no_longer_there_is_refused(folder: Path) -> None:
    def check() -> bool:
        listening(folder / "agent.sock")
        (folder / "agent.sock").unlink()
        return refusal_of(folder / "agent.sock").endswith("; run: systemctl --user restart juniperd.socket")

    assert in_child(check)


def _closed() -> None:
    with suppress(OSError):
        os.close(3)


def _file() -> None:
    os.dup2(os.open("/dev/null", os.O_RDONLY), 3)


def _deaf() -> None:
    made = socket.socket(socket.AF_UNIX)
    os.dup2(made.fileno(), 3)


def _network() -> None:
    made = socket.create_server(("127.0.0.1", 0))
    os.dup2(made.fileno(), 3)


def _nameless() -> None:
    made = socket.socket(socket.AF_UNIX)
    made.bind("\0juniper-test-of-the-door")
    made.listen(1)
    os.dup2(made.fileno(), 3)


@pytest.mark.parametrize("put", [_closed, _file, _deaf, _network, _nameless])
@pytest.mark.skipif(sys.platform == "darwin", reason="systemd is Linux's")
def test_what_is_passed_in_and_no_socket_of_ours_is_a_mistake_of_the_unit(
    folder: Path, put: Callable[[], None]
) -> None:
    def check() -> bool:
        put()
        return refusal_of(folder / "agent.sock").endswith("; give juniperd.socket one ListenStream, with a path")

    assert in_child(check)


def test_a_socket_passed_to_somebody_else_is_not_ours(folder: Path) -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    door = open_door(folder / "agent.sock", environ)
    assert (folder / "agent.sock").exists()
    assert environ == {}, "nor our children's"
    door.close()


@pytest.mark.parametrize(
    ("count", "names"), [("2", "a:b"), ("0", ""), ("", ""), ("3", "agent:lock:x"), ("\x1b[1m", "")]
)
def test_more_or_fewer_sockets_than_one_are_a_mistake_of_the_unit(folder: Path, count: str, names: str) -> None:
    with pytest.raises(ConfigError, match="one ListenStream") as refused:
        open_door(folder / "agent.sock", passing(count, names))
    assert "\x1b" not in str(refused.value)


def test_a_door_passed_on_is_the_same_door_with_its_lock(folder: Path) -> None:
    path = folder / "agent.sock"

    def check() -> bool:
        first = open_door(path, {})
        made = path.stat().st_ino
        first.keep()
        first.close()
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))  # waits in the queue meanwhile
            second = open_door(path, dict(first.pass_on()))
            accepted, _address = second.socket.accept()
            accepted.close()
        with pytest.raises(AgentRunning):
            open_door(path, {})
        good = second.path == path and path.stat().st_ino == made and not os.get_inheritable(4)
        second.close()
        return good and not path.exists()

    assert in_child(check)


def test_a_lock_passed_on_that_is_no_longer_the_folders_is_refused(folder: Path) -> None:
    path = folder / "agent.sock"

    def check() -> bool:
        first = open_door(path, {})
        first.keep()
        first.close()
        lock = path.with_name("agent.sock.lock")
        lock.unlink()
        lock.touch()
        with pytest.raises(StateError, match="not the lock that this agent holds"):
            open_door(path, dict(first.pass_on()))
        return True

    assert in_child(check)


def test_a_socket_that_took_our_sockets_place_is_left_there(folder: Path) -> None:
    """As when the socket unit is started while an agent that was started by hand serves."""
    path = folder / "agent.sock"
    door = open_door(path, {})
    path.unlink()
    with socket.socket(socket.AF_UNIX) as another:
        another.bind(str(path))
        door.close()
        assert path.is_socket()


@pytest.mark.skipif(sys.platform == "darwin", reason="the kernel names programs by /proc on Linux alone")
def test_the_callers_program_is_read_while_it_lives() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        caller = admit(ours)
        assert (caller.pid, caller.uid) == (os.getpid(), os.getuid())
        assert program_of(ours, caller) == str(Path("/proc/self/exe").readlink())
        assert program_of(ours, Caller(2**22, caller.uid)) == ""


@pytest.mark.skipif(sys.platform == "darwin", reason="the kernel names programs by /proc on Linux alone")
def test_of_a_helper_the_program_that_ran_it_counts(tmp_path: Path) -> None:
    helper, tool = tmp_path / "juniper-aws", tmp_path / "ter) raform"
    shutil.copy(os.path.realpath("/bin/sleep"), helper)
    tool.write_text(f"#!/bin/sh\n{helper} 60 &\necho $!\nwait\n")
    tool.chmod(0o755)
    with subprocess.Popen([tool], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        path = Path(f"/proc/{pid}/exe")
        # It is its own program once the shell's child has become it.
        while os.readlink(path) != str(helper):
            os.sched_yield()
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        with ours, theirs:
            caller = Caller(pid, os.getuid())
            assert program_of(ours, caller) == str(helper)
            assert program_of(ours, caller, ("juniper-aws",)) == "ter) raform"
        os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "darwin", reason="SO_PEERPIDFD is Linux's")
def test_a_caller_that_ended_names_no_program(folder: Path) -> None:
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        child = os.fork()
        if child == 0:
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(path))
            os._exit(0)
        accepted, _address = listener.accept()
        with accepted:
            os.waitpid(child, 0)
            assert program_of(accepted, Caller(child, os.getuid())) == ""


async def test_another_users_process_is_refused_at_the_socket(running: Running) -> None:
    if os.getuid() != 0:
        require_peer("root", "only root can become another user")
    # The folder's mode is what usually keeps others out; loosened here, so that the check itself is seen.
    running.path.parent.chmod(0o711)
    running.path.chmod(0o666)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(ORDINARY)
            os.setuid(ORDINARY)
            with socket.socket(socket.AF_UNIX) as caller:
                caller.settimeout(20)
                caller.connect(str(running.path))
                answer = b""
                while data := caller.recv(4096):
                    answer += data
                os.write(writing, answer)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    answer = await asyncio.to_thread(os.read, reading, 4096)
    os.close(reading)
    await asyncio.to_thread(os.waitpid, child, 0)
    assert b"user 65534 may not use the agent of user 0" in answer
    assert answer.endswith(b"x\x00\x00\x00\x01\x4d")
    assert "peer_refused" in running.log.getvalue()


def _own_folder(folder: Path) -> None:
    door = open_door(folder / "agent.sock")
    assert stat.S_IMODE((folder / "agent.sock").stat().st_mode) == 0o600
    with pytest.raises(AgentRunning):
        open_door(folder / "agent.sock")
    door.close()


def _loose_folder(folder: Path) -> None:
    folder.chmod(0o750)
    with pytest.raises(StateError, match="open to other users"):
        open_door(folder / "agent.sock")


def _roots_folder(_folder: Path) -> None:
    with pytest.raises(StateError, match="belongs to another user"):
        check_folder(Path("/etc"))


def _no_place_to_make_one(_folder: Path) -> None:
    with pytest.raises(StateError, match="cannot be used"):
        open_door(Path("/etc/juniper-of-nobody/agent.sock"))


@pytest.mark.parametrize("check", [_own_folder, _loose_folder, _roots_folder, _no_place_to_make_one])
def test_the_door_of_an_ordinary_user(check: Callable[[Path], None], folder: Path) -> None:
    if os.getuid() != 0:
        check(folder)
        return
    home = folder / "home"
    home.mkdir(mode=0o700)
    folder.chmod(0o711)
    os.chown(home, ORDINARY, ORDINARY)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(ORDINARY)
            os.setuid(ORDINARY)
            check(home)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
