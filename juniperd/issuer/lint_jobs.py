"""Scopes against the jobs there are: what is wider than any of them is worth a second look.

The jobs come as a small JSON document, made of the merged CI configuration by whoever can read it::

    {"version": 1, "jobs": [
        {"name": "deploy", "project": "shop/billing", "ref": "branch:main", "environment": "staging"}]}

``ref`` and ``environment`` may be left out. A name may hold variables (``review/$CI_COMMIT_REF_SLUG``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from juniperd.errors import ConfigError
from juniperd.issuer import glob
from juniperd.issuer.lint import Finding, at
from juniperd.issuer.policy import Policy, Scope
from juniperd.model import Origin

VERSION = 1
MOST_BYTES = 4 * 1024 * 1024
_KEYS = frozenset({"name", "project", "ref", "environment"})
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<plain>[A-Za-z_][A-Za-z0-9_]*))")
_WITHOUT_SLASH = re.compile(r"CI_.*(?:_SLUG|_ID|_IID|_SHA)")
"""GitLab's variables whose values have no slash; of any other a slash is to be expected."""
_REF = re.compile(r"(?:branch|tag):.+")
_MOST = 5
"""Names of jobs' places that a finding shows."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job, as far as a scope can tell it from others."""

    name: str
    project: str
    ref: str | None = None
    environment: str | None = None


def read(path: Path) -> tuple[Job, ...]:
    """The jobs in a file, strictly: a file that is half understood would say that nobody needs a scope."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror})"
        raise ConfigError(msg, "check the path and its permissions") from None
    if len(data) > MOST_BYTES:
        msg = f"{path} is larger than {MOST_BYTES} bytes"
        raise ConfigError(msg, f"split {path}")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        msg = f"{path} is not JSON"
        raise ConfigError(msg, f"mend {path}") from None
    rows = document.get("jobs") if isinstance(document, dict) else None
    if not isinstance(rows, list) or document.get("version") != VERSION or document.keys() != {"version", "jobs"}:
        msg = f"{path} is no list of jobs"
        raise ConfigError(msg, 'write it as {"version": 1, "jobs": […]}')
    return tuple(_job(row, f"{path}: job {number}") for number, row in enumerate(rows, 1))


def _job(row: object, place: str) -> Job:
    texts = {k: v for k, v in row.items() if v is not None} if isinstance(row, dict) else {}
    fit = texts.keys() <= _KEYS and all(isinstance(v, str) and v for v in texts.values())
    ref = texts.get("ref")
    if not fit or not {"name", "project"} <= texts.keys() or (ref is not None and not _REF.fullmatch(ref)):
        msg = f"{place} is no job"
        raise ConfigError(msg, 'give it name, project and perhaps environment and ref = "branch:NAME", all texts')
    return Job(texts["name"], texts["project"], ref, texts.get("environment"))


def of_jobs(policy: Policy, jobs: Iterable[Job]) -> list[Finding]:
    """What the scopes allow and no job uses; only of projects whose jobs are told."""
    told = tuple(jobs)
    known = {job.project for job in told}
    scopes = (s for s in policy.scopes.values() if any(glob.matches(s.project, project) for project in known))
    return [finding for scope in scopes for finding in _of_scope(scope, told)]


def _of_scope(scope: Scope, jobs: tuple[Job, ...]) -> Iterator[Finding]:
    mine = [job for job in jobs if _fits(scope, job)]
    if not mine:
        where = " on ".join(filter(None, (scope.environment or "any environment", scope.ref)))
        told = f"scope {scope.name} is of {where} in {scope.project}, and no job runs there"
        yield Finding("no-job", at(scope, "environment"), told, "mend environment and ref, or remove the scope")
        return
    yield from _narrower(scope, "environment", scope.environment, {job.environment for job in mine})
    yield from _narrower(scope, "ref", scope.ref, {job.ref for job in mine})


def _fits(scope: Scope, job: Job) -> bool:
    return (
        glob.matches(scope.project, job.project)
        and (scope.environment is None or (job.environment is not None and _covers(scope.environment, job.environment)))
        and (scope.ref is None or job.ref is None or _covers(scope.ref, job.ref))
    )


def _covers(pattern: str, name: str) -> bool:
    """Whether a pattern covers a job's name; a variable in it stands for a word, with a slash where one may come."""
    return glob.matches(pattern, _VARIABLE.sub(_sample, name))


def _sample(found: re.Match[str]) -> str:
    return "x" if _WITHOUT_SLASH.fullmatch(found["braced"] or found["plain"]) else "x/x"


def _narrower(scope: Scope, key: str, pattern: str | None, names: set[str | None]) -> Iterator[Finding]:
    """A pattern against the names that jobs have under it: one literal may do, or a star that stops at a slash.

    A laptop's scope without a ref is left alone: one would ask for other rights, and not for fewer people.
    """
    used = {name for name in names if name is not None}
    laptop = pattern is None and Origin.LAPTOP in scope.origins
    if laptop or not used or None in names or (pattern is not None and glob.is_literal(pattern)):
        return
    shown = ", ".join(sorted(used)[:_MOST])
    covers = f"names no {key}" if pattern is None else f"covers the {key} '{pattern}'"
    told = f"scope {scope.name} {covers}, and its jobs use {shown} alone"
    single = (pattern or "").replace("**", "*")
    if len(used) == 1 and not _VARIABLE.search(shown) and glob.flaw(_without_kind(shown)) is None:
        yield Finding("wider-than-jobs", at(scope, key), told, f'write {key} = "{shown}"')
    elif single != (pattern or "") and all(_covers(single, name) for name in used):
        yield Finding("wider-than-jobs", at(scope, key), told, f'write {key} = "{single}"')


def _without_kind(name: str) -> str:
    """What of a ref, or of an environment, a pattern is made of."""
    return name.removeprefix("branch:").removeprefix("tag:")
