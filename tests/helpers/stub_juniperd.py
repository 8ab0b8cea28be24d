"""Stands where juniperd would lie beside the helper: writes down how it was started, then answers like an agent.

The folder that it lies in tells it all: `lock` is held by the one that serves, as the real agent does it; `calls` says
how many it answers before it ends; `record` is what it writes down, `started` and `served` have a line from every
start and from every one that had the lock.
"""

import fcntl
import json
import os
import socket
import sys
from pathlib import Path

HERE = Path(sys.argv[0]).parent
PATIENCE = 20.0
ANSWER = b"\x01o\x00\x00\x00\x07started" + b"x\x00\x00\x00\x01\x00"
END = b"g\x00\x00\x00\x00"


def descriptors() -> dict[str, str]:
    """What is open, and where it leads; but for the one that lists."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


def circumstances() -> dict[str, object]:
    """How this process was started."""
    umask = os.umask(0)
    os.umask(umask)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "descriptors": descriptors(),
        "environment": Path("/proc/self/environ").read_text().split("\0")[:-1],
        "folder": str(Path.cwd()),
        "session": os.getsid(0),
        "umask": umask,
        "ignored": int(status["SigIgn"], 16),
        "blocked": int(status["SigBlk"], 16),
        "parent": os.getppid(),
        "argv": sys.argv,
    }


def serve(listener: socket.socket, calls: int) -> None:
    """Answers so many calls, each when it is complete."""
    for _ in range(calls):
        connection, _ = listener.accept()
        with connection:
            heard = b""
            while not heard.endswith(END) and (piece := connection.recv(65_536)):
                heard += piece
            connection.sendall(ANSWER)


def main() -> None:
    """One start: the first to hold the lock serves, any other leaves without a word."""
    record = circumstances()
    with (HERE / "started").open("a") as started:
        started.write("start\n")
    with (HERE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if (HERE / "record").exists():  # its calls are answered: a late start of the same test's
            return
        (HERE / "record").write_text(json.dumps(record))
        with (HERE / "served").open("a") as served:
            served.write("served\n")
        path = Path(os.environ["XDG_RUNTIME_DIR"], "juniper", "agent.sock")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(64)
            listener.settimeout(PATIENCE)
            serve(listener, int((HERE / "calls").read_text()))
        path.unlink()


if __name__ == "__main__":
    main()
