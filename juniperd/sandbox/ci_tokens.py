"""The ID token of a job, claim for claim with GitLab's types.

https://docs.gitlab.com/ci/secrets/id_token_authentication/#token-payload: ids are strings of digits and `runner_id` a
number, protections are texts, and `project_*` is a merge request's source project where `job_project_*` runs the job.
"""

from __future__ import annotations

import uuid
from typing import Final

from juniperd.sandbox.ci_access import Abilities
from juniperd.sandbox.ci_jobs import CONFIG_PATH, RUNNER_ID, Job, environment_is_protected
from juniperd.sandbox.idp_grants import Clock
from juniperd.sandbox.world import LEVELS, Project, World

NOT_BEFORE: Final = 5
_ROLES: Final = {level: name for name, level in LEVELS.items() if level}


def claims(job: Job, audience: str | list[str], world: World, *, url: str, clock: Clock) -> dict[str, object]:
    """What GitLab says of a job to this audience at this moment."""
    now = int(clock())
    return {
        "iss": url,
        "sub": _subject(job),
        "aud": audience,
        "jti": str(uuid.uuid4()),
        "iat": now,
        "nbf": now - NOT_BEFORE,
        "exp": now + job.spec.timeout,
        **_project("", job.pipeline.origin, world),
        **_project("job_", job.pipeline.project, world),
        **_person(job, world, clock),
        **_run(job, url),
        **_environment(job, world),
    }


def _subject(job: Job) -> str:
    ref = job.pipeline.ref
    return f"project_path:{job.pipeline.origin.path}:ref_type:{'tag' if ref.tag else 'branch'}:ref:{ref.name}"


def _project(prefix: str, project: Project, world: World) -> dict[str, object]:
    namespace = world.group(project.group_id)
    return {
        f"{prefix}namespace_id": str(namespace.id),
        f"{prefix}namespace_path": namespace.path,
        f"{prefix}project_id": str(project.id),
        f"{prefix}project_path": project.path,
    }


def _person(job: Job, world: World, clock: Clock) -> dict[str, object]:
    user = job.pipeline.user
    level = Abilities(world, job.pipeline.origin, user, clock).level()
    return {
        "user_id": str(user.id),
        "user_login": user.username,
        "user_email": f"{user.username}@shop.example",
        "user_access_level": _ROLES.get(level),
    }


def _run(job: Job, url: str) -> dict[str, object]:
    pipeline = job.pipeline
    # Configuration that lies in another project or behind a URL has no such names.
    own = not ({"@", ":"} & set(pipeline.project.ci_config_path))
    path, host = pipeline.project.ci_config_path or CONFIG_PATH, url.partition("://")[2]
    return {
        "pipeline_id": str(pipeline.id),
        "pipeline_source": pipeline.source,
        "job_id": str(job.id),
        "ref": pipeline.ref.name,
        "ref_type": "tag" if pipeline.ref.tag else "branch",
        "ref_path": pipeline.ref.path,
        "ref_protected": _text(value=job.protected),
        "runner_id": RUNNER_ID,
        "runner_environment": "self-hosted",
        "sha": pipeline.sha,
        "project_visibility": "private",
        "ci_config_ref_uri": f"{host}/{pipeline.project.path}//{path}@{pipeline.ref.path}" if own else None,
        "ci_config_sha": pipeline.sha if own else None,
    }


def _environment(job: Job, world: World) -> dict[str, object]:
    if job.environment is None or job.spec.environment is None:
        return {}
    return {
        "environment": job.environment.name,
        "environment_protected": _text(value=environment_is_protected(world, job)),
        "deployment_tier": job.spec.environment.tier or job.environment.tier,
        "environment_action": job.spec.environment.action,
    }


def _text(*, value: bool) -> str:
    return "true" if value else "false"
