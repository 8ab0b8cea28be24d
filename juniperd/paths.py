"""Where the agent's files lie (XDG Base Directory Specification); apart, because the command line needs little else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from pwd import getpwuid

from juniperd.errors import ConfigError

MAX_SOCKET_PATH = 107
"""Bytes a Unix socket's path may have (``sun_path`` less its NUL)."""


def check_environment(environ: Mapping[str, str]) -> None:
    """Refuse a configuration of one's own at the socket that every tool of this person's uses."""
    handed_a_socket = environ.get("LISTEN_PID") == str(os.getpid())
    if environ.get("JUNIPER_CONFIG") and not environ.get("JUNIPER_SOCKET") and not handed_a_socket:
        msg = "JUNIPER_CONFIG is set and JUNIPER_SOCKET is not, so this agent would answer for all your tools"
        raise ConfigError(msg, "set JUNIPER_SOCKET too, or unset JUNIPER_CONFIG")


def _home(environ: Mapping[str, str]) -> Path:
    """The home of the password database: a repository's ``.envrc`` may move ``HOME``, and with it proxy and CA."""
    try:
        return Path(getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path(environ.get("HOME", "/"))


def _xdg(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    """A base directory; the specification says that a relative value is ignored."""
    value = environ.get(variable, "")
    return Path(value) if value.startswith("/") else _home(environ) / fallback


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """``JUNIPER_CONFIG``, else ``$XDG_CONFIG_HOME/juniper/juniper.toml``."""
    named = environ.get("JUNIPER_CONFIG")
    return Path(named) if named else _xdg(environ, "XDG_CONFIG_HOME", ".config") / "juniper" / "juniper.toml"


def state_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The agent's state: ``$XDG_STATE_HOME/juniper``."""
    return _xdg(environ, "XDG_STATE_HOME", ".local/state") / "juniper"


def job_folder(job: str, environ: Mapping[str, str] = os.environ) -> Path:
    """What the agents of one job of GitLab's share; below the job's own ``HOME``, which its author sets anyhow."""
    state = environ.get("XDG_STATE_HOME", "")
    home = Path(environ.get("HOME") or _home(environ))
    return (Path(state) if state.startswith("/") else home / ".local/state") / "juniper" / "run" / f"job-{job}"


def socket_path(environ: Mapping[str, str] = os.environ) -> Path:
    """``JUNIPER_SOCKET``, else ``$XDG_RUNTIME_DIR/juniper/agent.sock``, else below ``~/.local/state``."""
    if named := environ.get("JUNIPER_SOCKET"):
        path = Path(named)
    elif (runtime := environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        path = Path(runtime) / "juniper" / "agent.sock"
    else:
        path = Path(environ.get("HOME") or _home(environ)) / ".local/state/juniper/run/agent.sock"
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        msg = f"the socket's path is longer than {MAX_SOCKET_PATH} bytes"
        raise ConfigError(msg, "set JUNIPER_SOCKET to a shorter path")
    return path
