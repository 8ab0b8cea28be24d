"""Pipelines and jobs of the sandbox's GitLab: made where GitLab would make them, running until they end."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

from juniperd.sandbox import ci_config
from juniperd.sandbox.ci_access import (
    NO_REF,
    Abilities,
    Ref,
    environment_protections,
    found_ref,
    guessed_tier,
    protections,
)
from juniperd.sandbox.ci_config import CiConfig, ConfigProblem, JobSpec
from juniperd.sandbox.drills import SOURCES
from juniperd.sandbox.idp_grants import Clock
from juniperd.sandbox.world import Environment, Project, Unknown, User, World

CONFIG_PATH: Final = ".gitlab-ci.yml"
ENDED: Final = ("success", "failed", "canceled")
NOT_DEPLOYABLE: Final = (
    "The environment this job is deploying to is protected. Only users with permission may successfully run this job."
)
FORBIDDEN: Final = "protected_environment_failure"
RUNNER_ID: Final = 1


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One run of a project's configuration on a ref; `fork` is where a merge request came from, if from a fork."""

    id: int
    iid: int
    project: Project
    user: User
    ref: Ref
    source: str
    fork: Project | None = None

    @property
    def origin(self) -> Project:
        """The project whose code it runs."""
        return self.fork or self.project

    @property
    def sha(self) -> str:
        """A commit, the same for the same ref."""
        return hashlib.sha1(f"{self.origin.path}@{self.ref.path}".encode(), usedforsecurity=False).hexdigest()

    @property
    def named_ref(self) -> str:
        """As the API tells it."""
        return f"refs/merge-requests/{self.iid}/head" if self.source == "merge_request_event" else self.ref.name


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a pipeline."""

    id: int
    pipeline: Pipeline
    spec: JobSpec
    protected: bool
    environment: Environment | None
    made_at: float
    status: str = "running"
    ended_at: float | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody starts; without a ref the default branch."""

    name: str
    user: str
    project: str
    ref: str = ""
    source: str = "push"
    fork: str = ""


@dataclass(slots=True)
class Jobs:
    """Every job there was."""

    world: World
    clock: Clock
    rows: list[Job] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=lambda: count(7001))

    def start(self, wish: Wish) -> Job:
        """A job that runs; what GitLab would not run is `Unknown`, with its text where it has one."""
        pipeline = self._pipeline(wish)
        config = self.config(pipeline.origin, pipeline.ref)
        known = self.variables(pipeline)
        chosen = {spec.name: spec for spec, _ in config.for_pipeline(known)}
        if not chosen:
            raise Unknown(ci_config.NO_JOBS)
        if wish.name not in chosen:
            raise Unknown(f"this pipeline has no job {wish.name}; it has {', '.join(chosen)}")
        spec = chosen[wish.name]
        protected = pipeline.source != "merge_request_event" and is_protected(self.world, pipeline)
        place = self._environment(pipeline, spec, {**config.variables, **known, **spec.variables})
        job = Job(next(self._numbers), pipeline, spec, protected, place, self.clock())
        self.rows.append(self._admitted(job))
        return self._running(self.rows[-1])

    def _pipeline(self, wish: Wish) -> Pipeline:
        project, user = self.world.project(wish.project), self.world.user(wish.user)
        if wish.source not in SOURCES:
            raise Unknown(f"no source {wish.source}; sources are {', '.join(SOURCES)}")
        kind, colon, name = (wish.ref or f"branch:{project.default_branch}").partition(":")
        if not colon or kind not in {"branch", "tag"}:
            raise Unknown(f"{wish.ref} is neither branch:NAME nor tag:NAME")
        fork = self.world.project(wish.fork) if wish.fork else None
        if fork is not None and wish.source != "merge_request_event":
            raise Unknown("only a merge request comes from a fork")
        # A merge request's pipeline runs on its source branch, which is the fork's where there is one.
        problem = Abilities(self.world, project, user, self.clock).pipeline_problem(name, fork=fork)
        found = found_ref(fork or project, name)
        if problem is not None or isinstance(found, str):
            raise Unknown(problem or str(found))
        if found.tag != (kind == "tag"):
            raise Unknown(NO_REF)
        number = next(self._numbers)
        return Pipeline(number, number - 7000, project, user, found, wish.source, fork)

    def _environment(self, pipeline: Pipeline, spec: JobSpec, known: Mapping[str, str]) -> Environment | None:
        """The job's environment, which its pipeline makes where there is none of that name."""
        if spec.environment is None:
            return None
        name, rows = ci_config.expanded(spec.environment.name, known), self.world.environments
        found = next((row for row in rows if row.project_id == pipeline.project.id and row.name == name), None)
        if found is None:
            tier = spec.environment.tier or guessed_tier(name)
            found = Environment(max(row.id for row in rows) + 1, pipeline.project.id, name, tier)
            rows.append(found)
        return found

    def _admitted(self, job: Job) -> Job:
        """The job, ended or held where its environment is protected from who started it."""
        if job.environment is None:
            return job
        abilities = Abilities(self.world, job.pipeline.project, job.pipeline.user, self.clock)
        place = (job.environment.name, job.environment.tier)
        if not abilities.may_deploy(*place):
            return replace(job, status="failed", failure=FORBIDDEN, ended_at=self.clock())
        return replace(job, status="manual") if abilities.waits_for_approval(*place) else job

    def _running(self, job: Job) -> Job:
        if job.failure is not None:
            raise Unknown(f"job {job.id} failed: {NOT_DEPLOYABLE}")
        if job.status != "running":
            raise Unknown(f"job {job.id} waits for an approval of its deployment")
        return job

    def config(self, project: Project, ref: Ref) -> CiConfig:
        """The project's configuration on a ref, or `Unknown` with GitLab's text."""
        path = project.ci_config_path or CONFIG_PATH
        try:
            text = self.world.file(project.id, ref.name, path)
            return ci_config.read(text, lambda name: self.world.file(project.id, ref.name, name))
        except ConfigProblem as problem:
            raise Unknown(str(problem)) from None

    def find(self, number: int) -> Job:
        """The job as it is now: one whose time is over has failed."""
        found = next((job for job in self.rows if job.id == number), None)
        if found is None:
            raise Unknown(f"no job {number} in this sandbox")
        end = found.made_at + found.spec.timeout
        if found.status == "running" and self.clock() >= end:
            return self._put(replace(found, status="failed", failure="job_execution_timeout", ended_at=end))
        if found.status == "running" and self.world.user(found.pipeline.user.id).state != "active":
            # Blocking an account drops its pipelines.
            return self._put(replace(found, status="failed", failure="user_blocked", ended_at=self.clock()))
        return found

    def end(self, number: int, status: str) -> Job:
        """A running job ends; one that has ended stays as it is, as a runner that comes too late is told."""
        if status not in ENDED:
            raise Unknown(f"no status {status}; a job ends as {', '.join(ENDED)}")
        found = self.find(number)
        if found.status in ENDED:
            return found
        failure = "script_failure" if status == "failed" else None
        return self._put(replace(found, status=status, failure=failure, ended_at=self.clock()))

    def _put(self, job: Job) -> Job:
        self.rows = [job if row.id == job.id else row for row in self.rows]
        return job

    def variables(self, pipeline: Pipeline) -> dict[str, str]:
        """The predefined variables of a pipeline (https://docs.gitlab.com/ci/variables/predefined_variables/)."""
        ref, project = pipeline.ref, pipeline.project
        found = {
            "CI_COMMIT_REF_NAME": ref.name,
            "CI_COMMIT_REF_SLUG": slug(ref.name),
            "CI_COMMIT_SHA": pipeline.sha,
            "CI_COMMIT_SHORT_SHA": pipeline.sha[:8],
            "CI_DEFAULT_BRANCH": project.default_branch,
            "CI_PIPELINE_ID": str(pipeline.id),
            "CI_PIPELINE_IID": str(pipeline.iid),
            "CI_PIPELINE_SOURCE": pipeline.source,
            "CI_PROJECT_ID": str(project.id),
            "CI_PROJECT_NAME": project.path.rpartition("/")[2],
            "CI_PROJECT_NAMESPACE": project.path.rpartition("/")[0],
            "CI_PROJECT_PATH": project.path,
        }
        if pipeline.source == "merge_request_event":
            named = {"CI_MERGE_REQUEST_IID": str(pipeline.iid), "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": ref.name}
            return found | named | {"CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": pipeline.origin.path}
        return found | {"CI_COMMIT_TAG" if ref.tag else "CI_COMMIT_BRANCH": ref.name}


def is_protected(world: World, pipeline: Pipeline) -> bool:
    """Whether the pipeline's ref is protected."""
    return bool(protections(world, pipeline.project, pipeline.ref))


def environment_is_protected(world: World, job: Job) -> bool:
    """Whether anybody is kept from deploying to the job's environment."""
    place = job.environment
    return place is not None and bool(environment_protections(world, job.pipeline.project, place.name, place.tier))


def slug(name: str) -> str:
    """`CI_COMMIT_REF_SLUG`: 63 letters, digits and dashes, with none of these at either end."""
    return re.sub(r"[^a-z0-9]", "-", name.lower())[:63].strip("-")
