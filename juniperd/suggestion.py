"""Policy entries proposed from a project's CI configuration, as TOML that a person reads, completes and has reviewed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from juniperd.ci_file import ROLE_ARN, CiJob
from juniperd.errors import one_line

LONGEST_NAME = 48
PRODUCTION = re.compile(r"(?:production|prod|live)(?:/.*)?", re.IGNORECASE)
"""What policies call production; a laptop reaches it only where its people are named."""
_WRITABLE = re.compile(r"branch:[A-Za-z0-9_./@ -]{1,240}")
"""A ref that policy can name: its patterns have no other characters, and a star there is a wildcard."""
_STARS = re.compile(r"\*\*|\*")
_MEANT = {"**": "${CI_COMMIT_REF_NAME}", "*": "${CI_COMMIT_REF_SLUG}"}
"""A variable of GitLab's whose values each wildcard covers; in braces, for what follows it is no part of its name."""
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")


@dataclass(frozen=True, slots=True)
class Source:
    """Which project's configuration on which ref was read, and the issuer that its tokens should be meant for."""

    project: str
    project_id: int
    ref: str
    issuer: str

    @property
    def stem(self) -> str:
        """The project's last part, with which every proposed name begins."""
        return self.project.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Proposal:
    """One entry; ``missing`` says what could not be found, and an entry that lacks a target is no entry yet."""

    name: str
    job: CiJob
    origins: tuple[str, ...]
    role_arn: str | None
    relying_party: str | None
    missing: tuple[str, ...]
    nameable: bool
    """Whether policy has patterns for its environment and ref: an entry without them would be a wider one."""

    @property
    def complete(self) -> bool:
        """Whether a policy would take it, once its relying party is declared."""
        return self.role_arn is not None and self._region is not None and self.nameable

    @property
    def _region(self) -> str | None:
        region = self.job.region
        return region if region is not None and _REGION.fullmatch(region) else None

    def _ref(self, source: Source) -> str | None:
        """The ref that was read, except for a job whose environment follows the ref."""
        return _ref_of(self.job, source)

    def to_json(self, source: Source) -> dict[str, object]:
        """For scripts."""
        aws = {"relying_party": self.relying_party, "role_arn": self.role_arn, "region": self._region}
        return {
            "name": self.name,
            "job": self.job.name,
            "project": source.project,
            "project_id": source.project_id,
            "environment": self.job.pattern,
            "ref": self._ref(source),
            "origins": list(self.origins),
            "role": "developer",
            "aws": aws if self.role_arn is not None else None,
            "complete": self.complete,
            "missing": list(self.missing),
        }

    def lines(self, source: Source) -> Iterator[str]:
        """As TOML, behind ``#`` where it is not complete."""
        # Names are somebody else's: none of them ends a comment.
        yield from (f"# {one_line(line)}" for line in self.missing)
        yield from (line if self.complete or not line else f"# {line}" for line in self._entry(source))

    def _entry(self, source: Source) -> Iterator[str]:
        yield f"[scope.{self.name}]"
        yield f"about       = {_toml(f'What the job {self.job.name} does')}"
        yield f"project     = {_toml(source.project)}"
        yield f"project_id  = {source.project_id}"
        if self.job.pattern is not None:
            yield f"environment = {_toml(self.job.pattern)}"
        if (ref := self._ref(source)) is not None:
            yield f"ref         = {_toml(ref)}"
        yield 'role        = "developer"'
        yield f"origins     = {json.dumps(list(self.origins))}"
        yield 'access      = "write"'
        if self.role_arn is not None:
            yield ""
            yield f"[scope.{self.name}.aws]"
            yield f"relying_party = {_toml(self.relying_party or '')}"
            yield f"role_arn      = {_toml(self.role_arn)}"
            yield f"region        = {_toml(self._region or 'REGION')}"


def evidence(jobs: Sequence[CiJob], source: Source) -> dict[str, object]:
    """The jobs as evidence of what scopes are used for; one whose environment follows the ref is of every ref."""
    return {"version": 1, "jobs": [_evidence(job, source) for job in jobs]}


def _evidence(job: CiJob, source: Source) -> dict[str, str]:
    follows = job.pattern not in {None, job.environment}
    place = _STARS.sub(lambda star: _MEANT[star[0]], job.pattern or "") if follows else job.environment
    said = {"name": job.name, "project": source.project, "environment": place, "ref": None if follows else source.ref}
    return {name: value for name, value in said.items() if value}


def proposals(jobs: Sequence[CiJob], source: Source, parties: Mapping[str, str]) -> list[Proposal]:
    """One for each role of each job that asks for an ID token; ``parties`` names the relying party of an account."""
    found: list[Proposal] = []
    for job in jobs:
        roles: Sequence[str | None] = job.role_arns or ([None] if job.audiences else [])
        for role in roles:
            words = [source.stem, job.name, job.pattern or ""]
            # A job with several roles is several boundaries.
            words += [role.rpartition("/")[2]] if role and len(roles) > 1 else []
            name = _free(_name(words), {one.name for one in found})
            found.append(_proposal(name, job, role, source, parties))
    return found


def _proposal(name: str, job: CiJob, role: str | None, source: Source, parties: Mapping[str, str]) -> Proposal:
    production = job.pattern is not None and PRODUCTION.fullmatch(job.pattern) is not None
    laptop = job.pattern is not None and not production
    account = found["account"] if (found := ROLE_ARN.fullmatch(role or "")) else ""
    party = parties.get(account) or (f"aws-{account}" if account else None)
    return Proposal(
        name,
        job,
        ("pipeline", "laptop") if laptop else ("pipeline",),
        role,
        party,
        tuple(_missing(job, role, source, account if account not in parties else "")),
        _is_named(job) and _is_writable(_ref_of(job, source)),
    )


def _ref_of(job: CiJob, source: Source) -> str | None:
    """The ref that was read; a job whose environment follows the ref is for all of them."""
    return source.ref if job.pattern == job.environment else None


def _is_named(job: CiJob) -> bool:
    """Whether the environment that it has on this ref, if any, has a pattern too."""
    return job.environment is None or job.pattern is not None


def _is_writable(ref: str | None) -> bool:
    return ref is None or _WRITABLE.fullmatch(ref) is not None


def _missing(job: CiJob, role: str | None, source: Source, undeclared: str) -> Iterator[str]:
    yield f"job {job.name}: whether it only reads could not be told; a scope that writes sleeps until a session"
    yield from _of_place(job)
    if not _is_writable(ref := _ref_of(job, source)):
        yield f"policy has no pattern for the ref {one_line(ref or '', 255)}; choose another with --ref"
    if not job.audiences:
        yield f"it asks for no ID token; add id_tokens with aud: {source.issuer}"
    elif source.issuer not in job.audiences:
        yield f"its ID tokens are for {one_line(', '.join(job.audiences), 300)}; add one with aud: {source.issuer}"
    if role is None:
        yield "what it reaches could not be found: add the table of a relying party"
    elif job.region is None or not _REGION.fullmatch(job.region):
        yield "the region of its role could not be found"
    if undeclared:
        yield f'declare [relying_party.aws-{undeclared}] with kind = "aws" and audience = "juniper:aws:{undeclared}"'


def _of_place(job: CiJob) -> Iterator[str]:
    """What its environment lacks for a scope."""
    if job.pattern is None and job.environment is None:
        yield "it has no environment, or one whose name could not be told: a laptop needs one"
    elif not _is_named(job):
        yield f"policy has no pattern for its environment {one_line(job.environment or '', 255)}"
    elif job.pattern is not None and PRODUCTION.fullmatch(job.pattern):
        yield "production is for pipelines, unless laptop_production names people until a date"
    if job.environment is not None and job.action != "start":
        yield f"its action there is {one_line(job.action, 40)}: where the environment is protected only a job that deploys holds it"


def toml(found: Sequence[Proposal], source: Source) -> str:
    """A policy file: what is complete stands as it would, the rest as comments."""
    head = [
        one_line(
            f"# proposed from the CI configuration of {source.project} on {source.ref}; to be completed and reviewed"
        ),
        "version = 1",
    ]
    entries = ["\n".join(one.lines(source)) for one in found]
    return "\n\n".join(["\n".join(head), *(entries or ["# no job there asks for an ID token or names a role"])]) + "\n"


def _name(words: Sequence[str]) -> str:
    parts = [re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-") for word in words]
    kept: list[str] = []
    for part in parts:
        # What a name says already it does not say again.
        if part and f"-{part}-" not in f"-{'-'.join(kept)}-":
            kept.append(part)
    # A name of one word is a place, such as staging, and not what somebody does there.
    name = "-".join(kept if len(kept) > 1 else [*kept, "job"])
    name = name if name[:1].isalpha() else f"job-{name}"
    return name[:LONGEST_NAME].strip("-")


def _free(name: str, taken: set[str]) -> str:
    number, free = 2, name
    while free in taken:
        suffix = f"-{number}"
        free, number = f"{name[: LONGEST_NAME - len(suffix)].strip('-')}{suffix}", number + 1
    return free


def _toml(text: str) -> str:
    """A basic string; what TOML would not have in one is gone already."""
    return json.dumps(one_line(text, 255), ensure_ascii=False)
