"""``juniperd``: the agent, in the foreground."""

from __future__ import annotations

import sys

from juniperd.errors import JuniperError

HELP = """usage: juniperd [--version | --job]

The agent in the foreground: it serves the helpers at its socket until SIGTERM and logs to standard error.
Usually `juniper up`, the helpers or a systemd user unit start it. With --job it is the agent of one job of GitLab's,
which `juniper ci` starts and ends."""


def main() -> int:
    """Run the agent until a signal ends it."""
    if sys.argv[1:] in (["-V"], ["--version"]):
        from juniperd.app import agent_version

        print(f"juniperd {agent_version()}")
        return 0
    job = sys.argv[1:] == ["--job"]
    if len(sys.argv) > 1 and not job:
        print(HELP, file=sys.stdout if sys.argv[1] in {"-h", "--help"} else sys.stderr)
        return 0 if sys.argv[1] in {"-h", "--help"} else 64
    from juniperd.app import run_agent, run_job_agent

    try:
        return run_job_agent() if job else run_agent()
    except JuniperError as error:
        print(f"juniperd: {error}", file=sys.stderr)
        return error.exit_status
