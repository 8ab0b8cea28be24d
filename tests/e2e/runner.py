"""A job of the sandbox's GitLab as its runner has it: the job's variables, a home of its own, commands one after another."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from juniperd.sandbox import control
from juniperd.sandbox.ci_jobs import Wish
from juniperd.sandbox.gitlab_files import JOB

from .company import Company, Done, done, ends, installed, run

TOKEN = "JUNIPER_ID_TOKEN"
WAITS = "import subprocess, sys; print(subprocess.check_output(['juniper', 'status', '--json']).decode().replace('\\n', ' '), flush=True); sys.stdin.read()"
"""A command that says which agent serves it, and waits for the end of its standard input."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job that runs."""

    company: Company
    number: str
    home: Path
    env: Mapping[str, str]

    @property
    def token(self) -> str:
        """Its ID token."""
        return self.env[TOKEN]

    @property
    def folder(self) -> Path:
        """Where the agents of this job keep what they share."""
        return self.home / ".local/state/juniper/run" / f"job-{self.number}"

    @property
    def left(self) -> list[str]:
        """What lies there."""
        return sorted(path.name for path in self.folder.iterdir())

    def juniper(self, *words: str, **variables: str) -> Done:
        """One line of the job's script; an empty variable is one that is not set."""
        env = {name: value for name, value in {**self.env, **variables}.items() if value}
        return done(run(("juniper", *words), env))

    def ci(self, *command: str) -> Done:
        """One line that begins with ``juniper ci --``."""
        return self.juniper("ci", "--", *command)

    def cancel(self) -> None:
        """Somebody cancels the job at GitLab; its script is still running."""
        self.company.drill("job", "cancel", self.number)

    @contextmanager
    def begun(self) -> Iterator[Served]:
        """A command that runs until the block ends."""
        served = Served(self)
        try:
            yield served
        finally:
            served.end()


@dataclass(slots=True)
class Served:
    """A command under ``juniper ci``, and the agent that serves it."""

    job: Job
    process: subprocess.Popen[bytes] = field(init=False)
    status: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        command = [installed("juniper"), "ci", "--", installed("python"), "-c", WAITS]
        self.process = subprocess.Popen(
            command, env=dict(self.job.env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.status = json.loads(self.process.stdout.readline())

    @property
    def agent(self) -> int:
        """The agent's process."""
        return int(self.status["agent"]["pid"])

    @property
    def folder(self) -> Path:
        """What this command alone has."""
        return Path(self.status["agent"]["socket"]).parent

    @property
    def command(self) -> int:
        """The command's process."""
        (pid,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[-1:]
        return int(pid)

    def helper(self, scope: str) -> Done:
        """What the AWS SDKs of the command would run."""
        named = {"JUNIPER_SOCKET": str(self.folder / "agent.sock"), "JUNIPER_CONFIG": str(self.folder / "juniper.toml")}
        return done(run(("juniper-aws", "--scope", scope), {**self.job.env, **named}))

    def end(self) -> int:
        """Let the command end by itself."""
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        self.process.wait(30)
        assert ends(self.agent)
        return self.process.returncode


@contextmanager
def job(company: Company, home: Path, name: str = "archive-invoices", **wish: str) -> Iterator[Job]:
    """A job that runs until the block ends, or somebody cancels it."""
    wanted = Wish(name, **{"user": "maintainer", "project": "shop/billing", **wish})
    words = ("job", "start", json.dumps(asdict(wanted)))
    told = json.loads(control.ask(company.run_dir / "control.sock", words))
    home.mkdir(mode=0o700)
    env = {
        **told["variables"],
        "PATH": company.env["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": company.env["TMPDIR"],
        "JUNIPER_CONFIG": str(company.folder / JOB),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    made = Job(company, str(told["id"]), home, env)
    try:
        yield made
    finally:
        company.drill("job", "end", made.number, "success")


def showing(secret: str) -> set[int]:
    """The processes that have it among their words or variables."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            shown = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if secret.encode() in shown and int(entry.name) != os.getpid():
            found.add(int(entry.name))
    return found
