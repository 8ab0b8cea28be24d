"""A project's CI configuration as GitLab reads it for the person, through the agent; what GitLab refuses is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from juniperd import ci_file
from juniperd.ci_file import CiJob
from juniperd.cli import checkout, connection, kindly
from juniperd.cli.connection import Event
from juniperd.errors import GrantRefused, UsageError, one_line

Row = Mapping[str, object]
PATIENCE = 65.0
"""Seconds: a dry run fetches every include."""


@dataclass(frozen=True, slots=True)
class OfJob:
    """What a job narrows a session to: its environment, and the scopes that its ref and environment do not rule out."""

    name: str
    environment: str
    ref: str

    def holds(self, row: Row) -> bool:
        """Whether the row may be the job's; which places a pattern covers the issuer knows."""
        return _may_be(row.get("environment"), self.environment) and _may_be(row.get("ref"), self.ref)

    def scopes(self, rows: Sequence[Row]) -> list[str]:
        """The names of those that the person holds, or may where the job chooses among a pattern's places."""
        held = [str(row.get("name")) for row in rows if row.get("held") or _is_open(row)]
        if not held:
            msg = f"you hold no scope of the job '{one_line(self.name, 100)}'"
            raise GrantRefused(msg, "run: juniper scopes")
        return held

    def selects(self, rows: Sequence[Row], scopes: Sequence[str]) -> str | None:
        """The ref that a session of these scopes is narrowed to: none where one of them names none, for it takes none."""
        refs = [row.get("ref") for row in rows if row.get("name") in scopes]
        return self.ref if all(refs) else None


def _may_be(pattern: object, name: str) -> bool:
    literal, star, _ = str(pattern).partition("*")
    return pattern is None or (name.startswith(literal) if star else name == literal)


def _is_open(row: Row) -> bool:
    """Whether a row is a pattern's, of which nobody holds anything before a place is chosen."""
    return any("*" in str(row.get(key)) for key in ("environment", "ref"))


def of_job(name: str, project: str, issuer: str, *, ref: str | None, environment: str | None) -> OfJob:
    """The job as GitLab would make it for this person: a way to choose, and never a reason to be given more.

    Without a ref it is the branch that is checked out, where this is a checkout of that project.
    """
    on = ref or (checkout.branch() if checkout.project([project]) else None)
    answer = lint(project, None if on is None else checkout.name_of(on), issuer)
    found = job(name, answer)
    place = found.environment or ""
    if environment not in (None, place):
        msg = f"the job '{found.name}' is for {place}, not for {one_line(environment or '', 100)}"
        raise UsageError(msg, "leave --env or --job out")
    kind = "tag" if ref is not None and ref.startswith("tag:") else "branch"
    return OfJob(found.name, place, f"{kind}:{answer.get('ref')}")


def lint(project: str, ref: str | None, issuer: str | None) -> Event:
    """The lint answer of a push of the person's to that ref; :class:`GrantRefused` with GitLab's own text."""
    answer = asked(project, ref, issuer)
    if (no := refusal(answer)) is not None:
        raise no
    return answer


def asked(project: str, ref: str | None, issuer: str | None) -> Event:
    """The same, whatever GitLab says."""
    return connection.result("ci_lint", {"project": project, "ref": ref, "issuer": issuer}, timeout=PATIENCE)


def refusal(answer: Event) -> GrantRefused | None:
    """Why GitLab would make this person no pipeline there, or None."""
    if answer.get("valid") is True:
        return None
    errors = answer.get("errors")
    said = "; ".join(map(str, errors)) if isinstance(errors, list) and errors else "without a reason"
    where = one_line(f"{answer.get('ref')} of {answer.get('project')}", 200)
    # A full stop would stand before our own semicolon.
    msg = f"GitLab would make no pipeline of yours on {where}: {one_line(said.rstrip(' .'), 400)}"
    return GrantRefused(msg, "choose another with --ref, or ask the project's maintainers")


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
