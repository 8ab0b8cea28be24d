"""One sandbox as a person at a shell has it: its variables, its folder, and commands with their three streams."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from juniperd.sandbox import control
from juniperd.sandbox.processes import Process
from tests.requirements import require_peer
from tests.sandbox.real_registry import UNPACKED

BIN = Path(sysconfig.get_path("scripts"))
SCOPE = "invoice-archive-writer"
REFUSED = "billing-release-publisher"
BUCKET = "invoice-archive-staging"
PATIENCE = 60.0
"""Seconds after which a test gives up on a command: far over what any of them takes."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left behind."""

    status: int
    stdout: str
    stderr: str

    @property
    def line(self) -> str:
        """Standard error, which is one line; tools put blank ones around what a helper says."""
        lines = [line for line in self.stderr.splitlines() if line]
        assert len(lines) == 1, self.stderr
        return lines[0]

    def good(self) -> str:
        """Standard output of a command that must not fail."""
        assert self.status == 0, self
        return self.stdout


def installed(name: str) -> str:
    """A command of this installation."""
    if not (BIN / name).exists():
        require_peer(name, f"there is none in {BIN}")
    return str(BIN / name)


def run(
    argv: Sequence[str], env: Mapping[str, str], *, stdin: bytes | None = None, timeout: float = PATIENCE
) -> subprocess.CompletedProcess[bytes]:
    """One command with exactly these variables, without a terminal."""
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    return subprocess.run(
        [installed(argv[0]), *argv[1:]],
        env=dict(env),
        capture_output=True,
        check=False,
        timeout=timeout,
        **given,
    )


def done(made: subprocess.CompletedProcess[bytes]) -> Done:
    """The same as text."""
    return Done(made.returncode, made.stdout.decode(), made.stderr.decode())


def shell_variables(lines: str) -> dict[str, str]:
    """What ``export NAME='value'`` lines say, as a shell reads them."""
    words = (shlex.split(line) for line in lines.splitlines())
    return dict(word.split("=", 1) for _export, word in words)


def ends(pid: int, limit: float = 8.0) -> bool:
    """Whether this process, with all its threads, ends in time."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], limit)[0])
    finally:
        os.close(watched)


def running_with(variable: str, value: str) -> list[int]:
    """The processes that have this variable in their environment, and are not the asking one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"{variable}={value}".encode() in variables and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def ended(strays: Sequence[int]) -> list[int]:
    """What outlived its sandbox, ended here so that no test run leaves it behind."""
    for pid in strays:
        os.kill(pid, signal.SIGKILL)
    return list(strays)


@dataclass(frozen=True, slots=True)
class Company:
    """A sandbox that is up."""

    folder: Path
    env: Mapping[str, str]
    changed: Mapping[str, str] = field(default_factory=dict)

    def run(self, *argv: str, stdin: bytes | None = None, timeout: float = PATIENCE) -> Done:
        """A command of this installation within the sandbox's variables."""
        return done(run(argv, {**self.env, **self.changed}, stdin=stdin, timeout=timeout))

    def raw(self, *argv: str, stdin: bytes | None = None) -> bytes:
        """The same, its standard output as bytes."""
        made = run(argv, {**self.env, **self.changed}, stdin=stdin)
        assert made.returncode == 0, made.stderr
        return made.stdout

    def juniper(self, *words: str) -> Done:
        """Our own command line."""
        return self.run("juniper", *words)

    def aws(self, *words: str, profile: str = SCOPE, stdin: bytes | None = None) -> Done:
        """The real AWS CLI."""
        return self.run("aws", "--profile", profile, *words, stdin=stdin)

    def helper(self, scope: str = SCOPE, *, timeout: float = PATIENCE) -> Done:
        """What the AWS SDKs run."""
        return self.run("juniper-aws", "--scope", scope, timeout=timeout)

    def sandbox(self, verb: str, *words: str) -> str:
        """``juniper sandbox …`` for this one."""
        return self.juniper("sandbox", verb, "--dir", str(self.folder), *words).good()

    def drill(self, *words: str) -> None:
        """The same for ``idp``, ``gitlab`` and ``sts``, without a process of its own."""
        control.ask(self.run_dir / "control.sock", words)

    def sign_in(self, role: str = "developer") -> None:
        """Sign in as this person, whoever was signed in before; no lease is held afterwards."""
        self.drill("idp", "as", role)
        self.juniper("login", "--again").good()

    def signed_in(self) -> str | None:
        """The GitLab login of who is signed in."""
        shown = self.status()["sign_in"]
        user = shown["user"] if isinstance(shown, dict) else None
        return str(user["login"]) if isinstance(user, dict) else None

    def heal(self) -> None:
        """Every upstream answers again, and sign-ins are the developer's."""
        for upstream in ("gitlab", "sts", "idp"):
            self.drill(upstream, "heal")
        self.drill("idp", "enable", "developer")
        self.drill("idp", "as", "developer")

    def status(self) -> dict[str, object]:
        """``juniper status --json``."""
        shown: dict[str, object] = json.loads(self.juniper("status", "--json").good())
        return shown

    def trail(self) -> list[dict[str, object]]:
        """The issuer's records, oldest first."""
        return [json.loads(line) for line in self.juniper("audit", "tail", "--json").good().splitlines()]

    def followed(self, event: str, *, since: int) -> list[dict[str, object]]:
        """The records of one kind after the first ``since``, once there is one: the issuer writes it when it is time."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = [record for record in self.trail()[since:] if record["event"] == event]
            if found:
                return found
        pytest.fail(f"nothing of {event} was written down")

    def decisions(self) -> list[dict[str, object]]:
        """The answers of ``/token``, oldest first."""
        return [record for record in self.trail() if record["event"] == "decision"]

    def under(self, **variables: str) -> Company:
        """The same company seen with other variables."""
        return Company(self.folder, self.env, {**self.changed, **variables})

    @property
    def processes(self) -> list[Process]:
        """What the sandbox says it runs."""
        note = json.loads((self.folder / "sandbox.json").read_text())
        return [Process(**row) for row in note["processes"]]

    def process(self, name: str) -> Process:
        """One of them."""
        return next(process for process in self.processes if process.name == name)

    @property
    def agent(self) -> Process:
        """The agent that ``up`` started."""
        return self.process("agent")

    @property
    def run_dir(self) -> Path:
        """The folder of the sockets."""
        return Path(self.env["JUNIPER_SOCKET"]).parent

    def url(self, server: str) -> str:
        """Where one of its servers answers."""
        return str(json.loads((self.folder / "sandbox.json").read_text())["urls"][server])

    def kill_agent(self) -> None:
        """End the agent as a crash would."""
        pid = int(json.loads(self.juniper("status", "--json").good())["agent"]["pid"])
        os.kill(pid, signal.SIGKILL)
        assert ends(pid)


@contextmanager
def company(place: Path) -> Iterator[Company]:
    """A sandbox below ``place``, from ``up`` to ``down``; its person's home is empty and has to stay so."""
    home, folder, temporary = place / "home", place / "shop", place / "t"
    for made in (home, temporary):
        made.mkdir(mode=0o700)
    plain = {"HOME": str(home), "PATH": f"{BIN}:{UNPACKED.parent}:{os.defpath}", "LANG": "C.UTF-8", "AWS_PAGER": ""}
    plain |= {"TMPDIR": str(temporary)}
    try:
        done(run(("juniper", "sandbox", "up", "--dir", str(folder)), plain)).good()
        said = done(run(("juniper", "sandbox", "env", "--dir", str(folder)), plain)).good()
        yield Company(folder, plain | shell_variables(said))
    finally:
        down = done(run(("juniper", "sandbox", "down", "--dir", str(folder)), plain))
        left = ended(running_with("JUNIPER_CONFIG", str(folder / "juniper.toml")))
    assert (down.status, left) == (0, []), down
    assert not folder.exists()
    assert list(temporary.iterdir()) == []
    assert list(home.iterdir()) == []
