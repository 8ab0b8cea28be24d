"""A project's CI configuration as GitLab reads it for the person, through the agent; what GitLab refuses is refused."""

from __future__ import annotations

from juniperd import ci_file
from juniperd.ci_file import CiJob
from juniperd.cli import connection, kindly
from juniperd.cli.connection import Event
from juniperd.errors import GrantRefused, UsageError, one_line

PATIENCE = 65.0
"""Seconds: a dry run fetches every include."""


def lint(project: str, ref: str | None, issuer: str | None) -> Event:
    """The lint answer of a push of the person's to that ref; :class:`GrantRefused` with GitLab's own text."""
    asked = {"project": project, "ref": ref, "issuer": issuer}
    answer = connection.result("ci_lint", asked, timeout=PATIENCE)
    if answer.get("valid") is not True:
        errors = answer.get("errors")
        said = "; ".join(map(str, errors)) if isinstance(errors, list) and errors else "without a reason"
        where = one_line(f"{answer.get('ref')} of {project}", 200)
        # A full stop would stand before our own semicolon.
        msg = f"GitLab would make no pipeline of yours on {where}: {one_line(said.rstrip(' .'), 400)}"
        raise GrantRefused(msg, "choose another with --ref, or ask the project's maintainers")
    return answer


def job(name: str, answer: Event) -> CiJob:
    """The job of that name; :class:`UsageError` with the choices where there is none, or it has no environment."""
    found = ci_file.jobs(answer)
    chosen = ci_file.find(found, name)
    placed = [one.name for one in found if one.environment is not None]
    if chosen is None:
        where = one_line(f"{answer.get('ref')} of {answer.get('project')}", 200)
        msg = f"a push to {where} makes no job '{one_line(name, 100)}'"
        cure = f"choose one with --job: {', '.join(placed)}" if placed else "choose another with --ref"
        raise UsageError(msg, kindly.guess(name, placed, "write --job '{}'", cure))
    if chosen.environment is None:
        msg = f"the job '{chosen.name}' has no environment that can be told"
        cure = f"choose one with --job: {', '.join(placed)}" if placed else "write --env ENVIRONMENT instead"
        raise UsageError(msg, cure)
    return chosen
