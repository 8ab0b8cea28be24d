"""What a runner is told of a job: its variables, with a token for each of its `id_tokens`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from juniperd.sandbox import ci_config, ci_tokens
from juniperd.sandbox.ci_jobs import RUNNER_ID, Job
from juniperd.sandbox.gitlab_shapes import environment_slug

if TYPE_CHECKING:
    from juniperd.sandbox.gitlab import GitLabDouble


def variables(job: Job, gitlab: GitLabDouble) -> dict[str, str]:
    """Of the pipeline, the job, its environment and its configuration, as GitLab names them."""
    config = gitlab.jobs.config(job.pipeline.origin, job.pipeline.ref)
    known = {**config.variables, **gitlab.jobs.variables(job.pipeline), **_of_job(job, gitlab.url), **_of_place(job)}
    own = {name: ci_config.expanded(value, known) for name, value in job.spec.variables.items()}
    return {**known, **own, **_tokens(job, gitlab)}


def _of_job(job: Job, url: str) -> Mapping[str, str]:
    user, project = job.pipeline.user, job.pipeline.project
    return {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_SERVER": "yes",
        "CI_SERVER_URL": url,
        "CI_SERVER_HOST": url.partition("://")[2].partition(":")[0],
        "CI_SERVER_FQDN": url.partition("://")[2],
        "CI_API_V4_URL": f"{url}/api/v4",
        "CI_PROJECT_URL": f"{url}/{project.path}",
        "CI_JOB_ID": str(job.id),
        "CI_JOB_NAME": job.spec.name,
        "CI_JOB_STAGE": job.spec.stage,
        "CI_JOB_TIMEOUT": str(job.spec.timeout),
        "CI_COMMIT_REF_PROTECTED": str(job.protected).lower(),
        "CI_RUNNER_ID": str(RUNNER_ID),
        "GITLAB_USER_ID": str(user.id),
        "GITLAB_USER_LOGIN": user.username,
    }


def _of_place(job: Job) -> Mapping[str, str]:
    if job.environment is None or job.spec.environment is None:
        return {}
    return {
        "CI_ENVIRONMENT_NAME": job.environment.name,
        "CI_ENVIRONMENT_SLUG": environment_slug(job.environment.name),
        "CI_ENVIRONMENT_TIER": job.spec.environment.tier or job.environment.tier,
        "CI_ENVIRONMENT_ACTION": job.spec.environment.action,
    }


def _tokens(job: Job, gitlab: GitLabDouble) -> Mapping[str, str]:
    keys, world = gitlab.sign_in.keys, gitlab.world
    asked = job.spec.id_tokens.items()
    told = {name: ci_tokens.claims(job, aud, world, url=gitlab.url, clock=gitlab.clock) for name, aud in asked}
    return {name: keys.sign(claims) for name, claims in told.items()}
