"""The agent of one job: started with its token over a pipe, and gone with whoever holds the other end.

The job's folder keeps the agent's key, so that every agent of the job is one to the issuer. What one command needs
lies in a folder below it, which goes with the command.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from juniperd import config, paths
from juniperd.address import is_base_url
from juniperd.cli import connection
from juniperd.config import Config
from juniperd.door import check_folder
from juniperd.errors import AgentMissing, ConfigError, UsageError, one_line
from juniperd.identity import gitlab_ci
from juniperd.identity.gitlab_ci import JobToken
from juniperd.setup import files

KEY = "key.pem"
ENDS = "ends"
"""When the job's token ends at the latest, in unix seconds: from then on nobody misses the folder."""
PATIENCE = 5.0
"""Seconds an agent may take to its first answer, or to its end."""
_NAME = "job-"
_KEPT = ("HOME", "USER", "LANG", "PATH", "TMPDIR")


@dataclass(frozen=True, slots=True)
class JobAgent:
    """A running agent: where its command's files lie, and the variables by which tools find it."""

    folder: Path
    variables: Mapping[str, str]
    sandbox: bool


@contextmanager
def running(token: JobToken, issuer: str, environ: Mapping[str, str]) -> Iterator[JobAgent]:
    """An agent that answers for this job, until the end of the block or of this process."""
    known = _configured(environ)
    if not is_base_url(issuer, sandbox=known.sandbox):
        msg = f"the token's audience '{one_line(issuer, 200)}' is no issuer's https URL"
        raise UsageError(msg, "write the issuer's URL as aud, or name it with --issuer")
    place = paths.job_folder(token.job, environ)
    _make(place.parent)
    _sweep(place.parent)
    _make(place)
    files.replace(place / ENDS, f"{int(token.ends_at)}\n", 0o600)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=place))
    try:
        files.replace(folder / "juniper.toml", _toml(known, issuer), 0o600)
        variables = {"JUNIPER_SOCKET": str(folder / "agent.sock"), "JUNIPER_CONFIG": str(folder / "juniper.toml")}
        _check_length(variables)
        with _started(token, place / KEY, {**{n: environ[n] for n in _KEPT if n in environ}, **variables}):
            yield JobAgent(folder, variables, known.sandbox)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make(place: Path) -> None:
    """One of the job's folders, and none above it that others may write to: runners start jobs with no umask at all."""
    before = os.umask(0o077)
    try:
        check_folder(place)
    finally:
        os.umask(before)


def _check_length(variables: Mapping[str, str]) -> None:
    """A socket's path that is too long is refused before anything is started."""
    try:
        paths.socket_path(variables)
    except ConfigError as error:
        raise ConfigError(error.message, "set XDG_STATE_HOME to a shorter path") from None


def is_inside(environ: Mapping[str, str]) -> bool:
    """Whether an agent of a job serves this very command: its token was taken out of the environment."""
    folder = Path(environ.get("JUNIPER_SOCKET", "")).parent
    taken = not environ.get(gitlab_ci.VARIABLE)
    return taken and folder.parent.name.startswith(_NAME) and Path(environ.get("JUNIPER_CONFIG", "")).parent == folder


def end(environ: Mapping[str, str]) -> None:
    """Take the job's folder away; agents that still run below it notice, and end."""
    shutil.rmtree(paths.job_folder(gitlab_ci.found(environ).job, environ), ignore_errors=True)


def _configured(environ: Mapping[str, str]) -> Config:
    """How upstreams are reached: from the configuration where there is one; its issuers are a person's."""
    path = paths.config_path(environ)
    return config.load(path, needs_issuer=False) if path.exists() else Config(path, {})


def _toml(known: Config, issuer: str) -> str:
    network = known.network
    said = {"proxy": network.proxy, "ca_file": str(network.ca_file.resolve()) if network.ca_file else None}
    lines = ["version = 1", *(["sandbox = true"] if known.sandbox else [])]
    lines += ["[issuer.ci]", f"url = {json.dumps(issuer)}", "pipeline = true", "[network]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in said.items() if value]
    lines += [f"no_proxy = {json.dumps(list(network.no_proxy))}"] if network.no_proxy else []
    return "\n".join([*lines, "[store]", 'kind = "memory"', "[notify]", "desktop = false"]) + "\n"


@contextmanager
def _started(token: JobToken, key: Path, environ: Mapping[str, str]) -> Iterator[None]:
    program = Path(sys.argv[0]).resolve().with_name("juniperd")
    if not program.is_file():
        msg = f"no juniperd beside {sys.argv[0]}"
        raise AgentMissing(msg, "reinstall juniperd")
    agent = subprocess.Popen(
        [program, "--job"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=dict(environ),
        start_new_session=True,
    )
    try:
        _hand_over(agent, {"token": token.token.reveal(), "key_file": str(key)})
        _wait(agent, Path(environ["JUNIPER_SOCKET"]))
        yield
    finally:
        _ended(agent)


def _hand_over(agent: subprocess.Popen[bytes], said: Mapping[str, str]) -> None:
    """The token, by the pipe that tells the agent of our end; what breaks it :func:`_wait` says."""
    if agent.stdin is not None:
        with suppress(BrokenPipeError):
            agent.stdin.write(json.dumps(said).encode() + b"\n")
            agent.stdin.flush()


def _wait(agent: subprocess.Popen[bytes], path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection.connect(path, 1.0).close()
        except AgentMissing:
            if agent.poll() is not None:
                msg = f"juniperd ended with status {agent.returncode}"
                raise AgentMissing(msg, f"check the permissions of {path.parent.parent}") from None
            if time.monotonic() > deadline:
                msg = f"juniperd did not answer within {PATIENCE:.0f} s"
                raise AgentMissing(msg, "try again") from None
            select.select([], [], [], 0.01)  # nothing to wait on: the socket does not exist yet
        else:
            return


def _ended(agent: subprocess.Popen[bytes]) -> None:
    """It gives back what would outlive it, and goes."""
    if agent.stdin is not None:
        with suppress(BrokenPipeError):
            agent.stdin.close()
    try:
        agent.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        agent.kill()
        agent.wait()


def _sweep(place: Path) -> None:
    """Take away the folders of jobs whose tokens have ended."""
    for left in place.glob(f"{_NAME}*"):
        with suppress(OSError, ValueError):
            if int((left / ENDS).read_text()) < time.time():
                shutil.rmtree(left, ignore_errors=True)
