"""`juniper sandbox up|down|env` and the drills, from the caller's side."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from juniperd.sandbox import control
from juniperd.sandbox.company import EXPORT_BUCKET, IMAGES
from juniperd.sandbox.environment import environment, program
from juniperd.sandbox.folder import NOTE, Folder, Note, SandboxError
from juniperd.sandbox.processes import Process, end

UP_LIMIT: Final = 60.0
LOG: Final = "log/sandbox.log"
CODE: Final = f"{IMAGES}.git"


def up(folder: Folder, *, without: str = "", link_page: bool = False) -> Note:
    """Start a sandbox in this folder, detached; back when every server answers."""
    if find_spec("moto") is None:
        raise SandboxError("the sandbox needs moto; run: pip install 'juniperd[sandbox]'")
    folder.make()
    log = folder.write(LOG, "")
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as ready:
        registry = shutil.which("docker-registry") or ""
        options = ["--without", without, *["--link-page"] * link_page, "--registry", registry]
        child = _spawn(folder, log, writing, options)
        os.close(writing)
        try:
            answer = _read_all(ready.fileno(), time.monotonic() + UP_LIMIT)
        except KeyboardInterrupt:
            end([Process.of("sandbox", child.pid)])
            raise
    if "version" in answer:
        return folder.ready()
    end([Process.of("sandbox", child.pid)])
    child.wait()
    problem = answer.get("problem") or f"{_last_line(log)}; see {log}"
    raise SandboxError(
        f"the sandbox did not come up: {problem}; to clear up run: juniper sandbox down --dir {folder.root}"
    )


def _spawn(folder: Folder, log: Path, ready_fd: int, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """The supervisor, in a session of its own and with none of our descriptors but one end of the pipe."""
    command = [sys.executable, "-m", "juniperd.sandbox.supervisor", "--dir", str(folder.root)]
    # Named variables only: the caller's proxy, AWS or moto settings must not reach a sandbox.
    variables = {name: os.environ[name] for name in ("TMPDIR", "XDG_RUNTIME_DIR") if name in os.environ}
    variables |= {"HOME": str(folder / "home"), "LANG": "C.UTF-8", "PATH": os.defpath}
    with log.open("ab") as out:
        return subprocess.Popen(
            [*command, "--ready-fd", str(ready_fd), *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=variables,
            pass_fds=(ready_fd,),
            start_new_session=True,
        )


def _read_all(descriptor: int, deadline: float) -> dict[str, object]:
    """The object that comes until the other side closes; empty where none does, or too late."""
    parts: list[bytes] = []
    while (left := deadline - time.monotonic()) > 0 and select.select([descriptor], [], [], left)[0]:
        part = os.read(descriptor, 65536)
        if not part:
            return dict(json.loads(b"".join(parts) or b"{}"))
        parts.append(part)
    return {}


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def down(folder: Folder) -> bool:
    """End the sandbox and remove its folder; False where there was none."""
    if not folder.root.exists() or not any(folder.root.iterdir()):
        return False
    if not folder.is_ours():
        raise SandboxError(f"{folder.root} is no sandbox's folder; name the one given to: juniper sandbox up --dir")
    if (folder / NOTE).exists():
        note = folder.note()
        # The first is the parent: it ends the others itself and takes the sockets away; what is left is ended here.
        since = _agent_since(Path(note.run_dir))
        end(note.processes[:1])
        end([*note.processes[1:], *since])
        _remove_sockets(Path(note.run_dir))
    folder.remove()
    return True


def _agent_since(run_dir: Path) -> list[Process]:
    """An agent that somebody started after `up`: whoever of ours listens at the sandbox's own socket (unix(7))."""
    if sys.platform != "linux":
        return []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        try:
            connection.connect(str(run_dir / "agent.sock"))
        except OSError:
            return []
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", raw)
    return [Process.of("agent", pid)] if uid == os.getuid() else []


def _remove_sockets(run_dir: Path) -> None:
    if run_dir.is_dir():
        Folder(run_dir).remove()


def env_lines(folder: Folder) -> list[str]:
    """`export NAME='value'` lines for a shell."""
    note = folder.ready()
    variables = environment(folder, Path(note.run_dir)) | {"BILLING_API": note.urls["api"]}
    variables |= {
        "BILLING_IMAGES": f"{note.urls['registry']}/{IMAGES}",
        "BILLING_CODE": f"{note.urls['gitlab']}/{CODE}",
        "INVOICE_EXPORT": f"{note.urls['google']}/storage/v1/b/{EXPORT_BUCKET}/o",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{note.urls['google']}/storage/v1/",
    }
    # These win over what configuration files say, so whoever has them set needs the sandbox's CA in them.
    variables |= dict.fromkeys(("SSL_CERT_FILE", "GIT_SSL_CAINFO"), str(_bundle(folder)))
    helpers = str(program("docker-credential-juniper").parent)
    if helpers not in os.environ.get("PATH", os.defpath).split(os.pathsep):
        # Docker and its kin look their helpers up there.
        variables["PATH"] = f"{helpers}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return [f"export {name}='{value}'" for name, value in variables.items()]


def _bundle(folder: Folder) -> Path:
    """The authorities that this shell trusts, and the sandbox's own."""
    theirs = Path(os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().openssl_cafile)
    path = folder / "ca-bundle.pem"
    if theirs != path:
        known = theirs.read_bytes() if theirs.is_file() else b""
        folder.write(path.name, known + b"\n" + (folder / "ca.pem").read_bytes())
    return path


def drill(folder: Folder, words: Sequence[str]) -> str:
    """Send the words to the running sandbox; the answer is its line."""
    return control.ask(Path(folder.ready().run_dir) / "control.sock", words)
