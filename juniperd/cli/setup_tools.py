"""What can be set up: each tool in a module of its own, found by its name."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from juniperd.errors import UsageError, one_line

if TYPE_CHECKING:
    from juniperd.cli.setup_plan import Tool

TOOLS = ("aws", "gcloud", "kubectl", "docker", "git", "unit", "completion")
"""Five tools, the systemd user unit, and completion for the shell."""


def tool(name: str) -> Tool:
    """The module of one of :data:`TOOLS`."""
    return cast("Tool", import_module(f"juniperd.cli.setup_{name}"))


def files_of_tools() -> list[Path]:
    """Every file of the person's that a tool's set-up may have changed."""
    from juniperd import paths
    from juniperd.setup import aws, completion, docker, git, google, units

    home = Path.home()
    return [
        aws.config_file(os.environ, home),
        *google.files_in(paths.config_path()),
        paths.config_path().with_name("kubeconfig"),
        docker.config_file(os.environ, home),
        git.config_file(os.environ, home),
        *(units.folder(os.environ, home) / name for name in units.NAMES),
        *(place.path for place in completion.places(os.environ, home).values()),
    ]


def chosen(only: str | None) -> tuple[str, ...]:
    """The tools of ``--only``, in our order; all of them without it."""
    if only is None:
        return TOOLS
    named = [name.strip() for name in only.split(",")]
    for name in named:
        if name not in TOOLS:
            raise unknown(name, option="--only ")
    return tuple(name for name in TOOLS if name in named)


def unknown(name: str, *, option: str = "") -> UsageError:
    """There is no such tool; the cure names what may be meant."""
    from difflib import get_close_matches

    msg = f"nothing to set up is called '{one_line(name, 60)}'"
    close = get_close_matches(name, TOOLS, n=1)
    if close:
        return UsageError(msg, f"did you mean: {option or 'juniper setup '}{close[0]}?")
    if option:
        return UsageError(msg, f"name some of: {','.join(TOOLS)}")
    return UsageError(msg, f"run: juniper setup {'|'.join(TOOLS)}, or: juniper setup https://your-issuer")
