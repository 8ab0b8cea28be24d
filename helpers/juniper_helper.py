"""The helper in Python, for where juniper.c cannot be compiled: same frames, same texts, same exits.

It sends the name it was called by, its arguments and a few named variables to the agent, then obeys the frames it gets
back (their layout is told in ``juniperd/wire.py``). What goes wrong on its own side is one line on stderr that ends
with the cure, and status 1.

Every call of a tool pays for what is imported here, so it is the little that starts fast: ``socket`` alone would
double the time, hence ``_socket``, which it wraps.
"""

import errno
import os
import select
import sys
import time
from _socket import AF_UNIX, SO_PEERCRED, SOCK_STREAM, SOL_SOCKET, socket

TYPE_CHECKING = False  # as in typing, which takes longer to import than the rest together
if TYPE_CHECKING:
    from typing import NoReturn

VERSION = 1
HEADER = 5
MAX_PAYLOAD = 65_536
MAX_REQUEST = 131_072
MAX_FRAMES = 256
MAX_STDIN = 1_048_576
MAX_PATH = 103 if sys.platform == "darwin" else 107
DEADLINE = 4.0
RETRY = 0.01
LAST_WORD = 100

RESTART = "restart the agent: juniper down; juniper up"
ASK_STATUS = "run: juniper status"
LATE = "the agent did not answer within 4 s"

VARIABLES = (b"KUBERNETES_EXEC_INFO", b"JUNIPER_QUIET")
KEPT = (b"HOME", b"USER", b"XDG_RUNTIME_DIR", b"LANG", b"DBUS_SESSION_BUS_ADDRESS")

STDIN, STDOUT, STDERR = 0, 1, 2

name = os.fsencode(os.path.basename(sys.argv[0]))
deadline = time.monotonic() + DEADLINE


def fail(cure: str, what: str) -> "NoReturn":
    """Ends the program with ``NAME: WHAT; CURE``, on stderr for most tools: one line, whatever bytes a path or a name may hold."""
    line = name[:64] + b": " + os.fsencode(what)[:511] + b"; " + os.fsencode(cure)
    shown = bytes(63 if byte < 32 or byte == 127 else byte for byte in line)
    if for_library():
        fail_as_json(shown)
    try:
        last_word(stream_of_line(), shown + b"\n")
    finally:
        leave(1)


def for_library() -> bool:
    """Whether Google's libraries run it, and not a tool of ours that wants the access token."""
    return name == b"juniper-google" and "--access-token" not in sys.argv[1:]


def fail_as_json(line: bytes) -> "NoReturn":
    """Google's libraries read stderr as if it were output, and a failure as JSON with status 0 (AIP-4117)."""
    text = bytes(byte if byte < 127 else 63 for byte in line).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    answer = b'{"version": 1, "success": false, "code": "503", "message": "' + text + b'"}\n'
    try:
        last_word(STDOUT, answer)
    finally:
        leave(0)


def last_word(stream: int, line: bytes) -> None:
    """Writes it where that does not block; there is no other place."""
    out = select.poll()
    out.register(stream, select.POLLOUT)
    if out.poll(LAST_WORD):
        os.write(stream, line)


def stream_of_line() -> int:
    """Where the line goes. One text on Docker's stdout means that there is nothing here, for whoever asked to be quiet."""
    if not name.startswith(b"docker-credential-"):
        return STDERR
    if os.environb.get(b"JUNIPER_QUIET", b"") in {b"", b"0"}:
        return STDOUT
    last_word(STDOUT, b"credentials not found in native keychain\n")
    return STDERR


def leave(status: int) -> "NoReturn":
    """Ends at once: nothing is buffered here, and taking the interpreter down in order costs milliseconds."""
    os._exit(status)


def reason(error: OSError) -> str:
    """The system's words for an error, in lower case as the rest of the line is."""
    text = os.strerror(error.errno or 0)
    return text[:1].lower() + text[1:]


def ready(*wanted: tuple[int, int]) -> set[int]:
    """Waits until some of these (descriptor, events) are ready; none once the deadline has passed."""
    left = int((deadline - time.monotonic()) * 1000)
    if left <= 0:
        return set()
    waiter = select.poll()
    for fd, events in wanted:
        waiter.register(fd, events)
    return {fd for fd, _ in waiter.poll(left)}


def build_request() -> bytes:
    """The version byte and every frame that this side sends unasked."""
    payloads = [(b"a", name)] + [(b"a", os.fsencode(argument)) for argument in sys.argv[1:]]
    payloads += [(b"v", key + b"=" + os.environb[key]) for key in VARIABLES if key in os.environb]
    payloads.append((b"g", b""))
    sizes = [len(payload) for _, payload in payloads]
    if max(sizes) > MAX_PAYLOAD or sum(sizes) > MAX_REQUEST or len(sizes) > MAX_FRAMES:
        fail("use fewer or shorter arguments", "the arguments and variables are longer than the agent takes")
    return bytes([VERSION]) + b"".join(kind + len(data).to_bytes(4, "big") + data for kind, data in payloads)


def variable(key: str) -> bytes:
    """An empty variable counts as unset."""
    return os.environb.get(key.encode(), b"")


def find_socket() -> bytes:
    """The path of the agent's socket: a session's first, then the chosen one, then the default."""
    session = variable("JUNIPER_SESSION_SOCKET")
    runtime, home = variable("XDG_RUNTIME_DIR"), variable("HOME")
    path = session or variable("JUNIPER_SOCKET")
    if not path and runtime.startswith(b"/"):  # the XDG specification has relative ones ignored
        path = runtime + b"/juniper/agent.sock"
    elif not path and home:
        path = home + b"/.local/state/juniper/run/agent.sock"
    elif not path:
        fail("set HOME", "cannot tell where the agent's socket is")
    if len(path) > MAX_PATH:
        setting = "JUNIPER_SESSION_SOCKET" if session else "JUNIPER_SOCKET"
        what = f"the path of the agent's socket has {len(path)} bytes, {MAX_PATH} are allowed"
        fail(f"set {setting} to a shorter path", what)
    return path


def peer_uid(agent: socket) -> int:
    """Whose process listens there, as the kernel tells it."""
    if sys.platform == "linux":
        credentials = agent.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)  # struct ucred: pid, uid, gid
    else:
        credentials = agent.getsockopt(0, 1, 76)  # SOL_LOCAL, LOCAL_PEERCRED; struct xucred: version, uid, groups
    return int.from_bytes(credentials[4:8], sys.byteorder)


def check_peer(agent: socket, path: bytes) -> None:
    """Nobody but this user may be asked: whoever answers here hands out credentials."""
    in_session = variable("JUNIPER_SESSION_SOCKET")
    cure = "unset JUNIPER_SESSION_SOCKET" if in_session else "set JUNIPER_SOCKET to a socket of your own agent"
    try:
        owner = peer_uid(agent)
    except OSError as error:
        fail(cure, f"cannot tell who answers at {os.fsdecode(path)}: {reason(error)}")
    if owner != os.geteuid():
        fail(cure, f"the agent at {os.fsdecode(path)} belongs to uid {owner}, not to you")


def become_agent(program: str) -> "NoReturn":
    """In the child's child: nothing of the caller's terminal, pipes, folder or variables stays with the agent."""
    import signal  # only a start needs it

    try:
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (STDIN, STDOUT, STDERR):
            os.dup2(null, fd)
        os.chdir("/")
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.umask(0o077)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(program, [program], {key: os.environb[key] for key in KEPT if key in os.environb})
    finally:
        leave(1)


def start_agent(path: bytes) -> None:
    """Starts the juniperd beside this very file, never one from PATH, with no parent to outlive and no child to reap.

    Two starters are made one by the agent's lock.
    """
    program = os.path.join(os.path.dirname(os.path.realpath(__file__)), "juniperd")
    if not (os.path.isfile(program) and os.access(program, os.X_OK)):
        where = os.fsdecode(path)
        fail("run: juniper up", f"no agent answers at {where} and no juniperd lies beside this helper")
    try:
        child = os.fork()
        if child == 0:
            launch(program)
        started = os.waitpid(child, 0)[1] == 0
    except ChildProcessError:  # the caller ignores SIGCHLD, so nobody is left to ask
        started = True
    except OSError:
        started = False
    if not started:
        fail("run: juniper up", "cannot start the agent: no new process")


def launch(program: str) -> "NoReturn":
    """In the child: a session of its own, and a child that nobody has to reap."""
    status = 1
    try:
        os.setsid()
        if os.fork() == 0:
            become_agent(program)
        status = 0
    finally:
        leave(status)


def no_agent(path: bytes) -> None:
    """Nobody listens there: starts the agent where that is ours to do, else says what ended and how it begins again."""
    if variable("JUNIPER_SESSION_SOCKET"):
        fail("run: juniper session open", "the session has ended")
    if variable("JUNIPER_SOCKET") or variable("JUNIPER_CONFIG"):
        fail("run: juniper up", f"no agent answers at {os.fsdecode(path)}")
    start_agent(path)


def try_to_reach(path: bytes) -> "socket | OSError":
    """A connected socket that never blocks, or what stood in the way."""
    try:
        agent = socket(AF_UNIX, SOCK_STREAM)
        agent.setblocking(False)
    except OSError as error:
        fail(ASK_STATUS, f"cannot make a socket: {reason(error)}")
    try:
        agent.connect(path)
    except OSError as error:
        agent.close()
        return error
    return agent


def reach_agent(path: bytes) -> socket:
    """The agent's socket, waiting for an agent that is starting or has a full queue."""
    started = False
    while isinstance(found := try_to_reach(path), OSError):
        absent = found.errno in (errno.ENOENT, errno.ECONNREFUSED)
        if absent and not started:
            no_agent(path)
            started = True
        elif not absent and found.errno not in (errno.EAGAIN, errno.EINTR):
            fail(ASK_STATUS, f"cannot reach the agent at {os.fsdecode(path)}: {reason(found)}")
        if time.monotonic() >= deadline and absent:
            fail("run: juniper up", "the agent did not start within 4 s")
        if time.monotonic() >= deadline:
            fail(ASK_STATUS, LATE)
        time.sleep(RETRY)
    return found


def send_all(fd: int, data: bytes) -> None:
    """Sends all of it. An agent that hung up may have said why first, so that is for the reader to find."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            if not ready((fd, select.POLLOUT)):
                fail(ASK_STATUS, LATE)
        except (BrokenPipeError, ConnectionResetError):
            return
        except OSError as error:
            fail(ASK_STATUS, f"cannot ask the agent: {reason(error)}")


def deliver(fd: int, data: bytes) -> None:
    """Writes to a stream of ours, by pieces that a pipe takes without blocking. A lost stderr is no reason to stop."""
    rest = memoryview(data)
    while rest:
        if not ready((fd, select.POLLOUT)):
            fail("read all of it", "nobody took the answer within 4 s")
        try:
            rest = rest[os.write(fd, rest[: select.PIPE_BUF]) :]
        except BlockingIOError:
            continue
        except OSError as error:
            if fd == STDERR:
                return
            fail("run it with stdout open", f"cannot write the answer: {reason(error)}")


class Conversation:
    """What is known of the agent, and of what it asked for so far."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.inbox = b""
        self.greeted = False  # its version byte came
        self.foreign = False  # and is not ours
        self.explained = False  # it said something on stderr
        self.asked = False  # it wants stdin
        self.streaming = False  # and has not had all of it
        self.streamed = 0  # bytes of stdin sent

    def obey(self) -> "NoReturn":
        """Does what the agent says until it says exit."""
        while True:
            wanted = [(self.fd, select.POLLIN)] + [(STDIN, select.POLLIN)] * self.streaming
            found = ready(*wanted)
            if not found and self.streaming:
                fail("close it, or pipe it in", "stdin did not end within 4 s")
            if not found:
                fail(ASK_STATUS, LATE)
            if self.fd in found:
                self.receive()
            else:
                self.pass_stdin()

    def receive(self) -> None:
        """Takes what the agent sent, or its end."""
        try:
            data = os.read(self.fd, HEADER + MAX_PAYLOAD - len(self.inbox))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data and self.foreign:
            self.broken("")
        if not data:
            fail(ASK_STATUS, "the agent ended before its answer did")
        self.inbox += data
        self.obey_inbox()

    def obey_inbox(self) -> None:
        """Obeys every whole frame in the inbox and keeps what is left over."""
        at = 0
        if not self.greeted:
            self.greeted, at = True, 1
            self.foreign = self.inbox[0] != VERSION
        while len(self.inbox) - at >= HEADER:
            size = int.from_bytes(self.inbox[at + 1 : at + HEADER], "big")
            if size > MAX_PAYLOAD:
                self.broken("the agent sent a frame over 65536 bytes")
            end = at + HEADER + size
            if len(self.inbox) < end:
                break
            self.obey_frame(self.inbox[at : at + 1], self.inbox[at + HEADER : end])
            at = end
        self.inbox = self.inbox[at:]

    def obey_frame(self, kind: bytes, data: bytes) -> None:
        """Does what one frame says.

        A foreign agent is heard on stderr and status alone: it may not call its answer good.
        """
        if kind == b"e":
            self.explained = True
            deliver(STDERR, data)
        elif kind == b"x" and len(data) == 1 and not (self.foreign and (data == b"\0" or not self.explained)):
            leave(data[0])
        elif kind == b"o" and not self.foreign:
            deliver(STDOUT, data)
        elif kind == b"s" and not data and not self.asked and not self.foreign:
            self.asked = self.streaming = True
        else:
            self.broken("the agent sent a frame that this helper does not know")

    def pass_stdin(self) -> None:
        """Passes on one piece of stdin, or its end."""
        try:
            data = os.read(STDIN, MAX_PAYLOAD)
        except BlockingIOError:
            return
        except OSError as error:
            fail("run it with stdin open", f"cannot read stdin: {reason(error)}")
        self.streamed += len(data)
        if self.streamed > MAX_STDIN:
            fail("send less", "stdin is longer than 1 MiB")
        send_all(self.fd, b"i" + len(data).to_bytes(4, "big") + data)
        self.streaming = bool(data)

    def broken(self, what: str) -> "NoReturn":
        """An agent that breaks the frames. One of another version has the better excuse, and may have given it."""
        if self.foreign and self.explained:
            leave(1)
        if self.foreign:
            fail(RESTART, "the agent speaks another frame version than this helper")
        fail(RESTART, what)


def fill_standard_streams() -> None:
    """A closed one would give its number to the socket. Filled the wrong way round, it still cannot be used."""
    for fd in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open("/dev/null", os.O_WRONLY if fd == STDIN else os.O_RDONLY)
            if null != fd:
                leave(1)


def main() -> "NoReturn":
    """One request, start to exit."""
    fill_standard_streams()
    path = find_socket()
    request = build_request()
    agent = reach_agent(path)
    check_peer(agent, path)
    send_all(agent.fileno(), request)
    Conversation(agent.fileno()).obey()


def interrupted() -> "NoReturn":
    """Dies of the interrupt as a C program does, so that a shell stops its loop too."""
    import signal  # only an interrupt needs it

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    leave(130)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        interrupted()
