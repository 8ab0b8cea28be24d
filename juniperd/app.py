"""The composition root: each program, each put together in a function of its own.

The imports stand inside, so that no program loads another.
"""

from __future__ import annotations

from pathlib import Path


def run_agent() -> int:
    """``juniperd``, in the foreground."""
    from juniperd import process

    return process.run_agent()


def run_job_agent() -> int:
    """``juniperd --job``: the agent of one job."""
    from juniperd import process

    return process.run_job_agent()


def agent_version() -> str:
    """The release of a ``juniperd`` that can be started."""
    from juniperd import process

    return process.version()


def run_issuer(config: Path) -> int:
    """``juniper issuer serve``, in the foreground."""
    from juniperd.issuer import app

    return app.run(config)


def run_minter(config: Path) -> int:
    """``juniper minter serve``, in the foreground."""
    from juniperd.minter import app

    return app.run(config)


def check_minter(config: Path) -> str:
    """What a minter of this configuration would do."""
    from juniperd.minter import app

    return app.check(config)
