"""The sandbox GitLab's API of jobs, and its CI lint: the dry run of a pipeline for whoever asks.

Shapes: https://docs.gitlab.com/api/jobs/ and https://docs.gitlab.com/api/lint/. The dry run names environments as they
are written, with their variables (`Gitlab::Ci::Lint#dry_run_convert_to_jobs`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from juniperd.sandbox import ci_config
from juniperd.sandbox.ci_access import Abilities, Ref, found_ref
from juniperd.sandbox.ci_config import CiConfig, JobSpec
from juniperd.sandbox.ci_jobs import RUNNER_ID, Job, Jobs, Pipeline
from juniperd.sandbox.gitlab_shapes import Json, user_row
from juniperd.sandbox.idp_grants import Clock
from juniperd.sandbox.world import LEVELS, Project, Unknown, User, World

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
_EARLIER: Final = (("sha", "content_ref"), ("ref", "dry_run_ref"))


@dataclass(frozen=True, slots=True)
class CiApi:
    """Both, over one world; `project_of` and `me` answer for a request that was let in."""

    world: World
    jobs: Jobs
    url: str
    clock: Clock
    project_of: Callable[[web.Request], Project]
    me: Callable[[web.Request], User]

    def routes(self) -> dict[str, Answer]:
        """Below /api/v4."""
        return {"/projects/{id}/jobs/{job_id}": self._job, "/projects/{id}/ci/lint": self._lint}

    async def _job(self, request: web.Request) -> web.Response:
        project, given = self.project_of(request), request.match_info["job_id"]
        try:
            job = self.jobs.find(int(given) if given.isdecimal() else -1)
        except Unknown:
            return _not_found("404 Not found")
        if job.pipeline.project.id != project.id:
            return _not_found("404 Not found")
        return web.json_response(job_row(job, self.url))

    async def _lint(self, request: web.Request) -> web.Response:
        project, query = self.project_of(request), request.query
        for earlier, name in _EARLIER:
            if earlier in query and name in query:
                return web.json_response({"error": f"{earlier}, {name} are mutually exclusive"}, status=400)
        abilities = Abilities(self.world, project, self.me(request), self.clock)
        if abilities.level() < LEVELS["reporter"] and not abilities.user.is_admin:
            return web.json_response({"message": "403 Forbidden"}, status=403)
        content_ref = query.get("content_ref") or query.get("sha") or project.default_branch
        content = found_ref(project, content_ref)
        if isinstance(content, str):
            return _not_found("404 Commit Not Found")
        dry, jobs = query.get("dry_run") == "true", query.get("include_jobs") == "true"
        on = query.get("dry_run_ref") or query.get("ref") or project.default_branch
        problem = abilities.pipeline_problem(on) if dry else None
        answer = _linted(problem) if problem else self._read(abilities, content, on if dry else None)
        return web.json_response(answer if jobs else {name: answer[name] for name in answer if name != "jobs"})

    def _read(self, abilities: Abilities, content: Ref, on: str | None) -> Json:
        """The configuration of `content`, and the jobs that a push to `on` would create, else all there are."""
        project = abilities.project
        try:
            config = self.jobs.config(project, content)
            rows = [(job, job.when) for job in config.jobs] if on is None else self._simulated(abilities, config, on)
        except (Unknown, ci_config.ConfigProblem) as problem:
            return _linted(str(problem))
        if not rows:
            return _linted(ci_config.NO_JOBS, config)
        return {**_linted(None, config), "jobs": [_lint_row(job, when) for job, when in rows]}

    def _simulated(self, abilities: Abilities, config: CiConfig, on: str) -> list[tuple[JobSpec, str]]:
        found = found_ref(abilities.project, on)
        ref = Ref(on) if isinstance(found, str) else found
        push = Pipeline(0, 0, abilities.project, abilities.user, ref, "push")
        return config.for_pipeline(self.jobs.variables(push))


def _linted(problem: str | None, config: CiConfig | None = None) -> Json:
    return {
        "valid": problem is None,
        "errors": [] if problem is None else [problem],
        "warnings": [],
        "merged_yaml": None if config is None else config.merged,
        "includes": [],
        "jobs": [],
    }


def _lint_row(job: JobSpec, when: str) -> Json:
    return {
        "name": job.name,
        "stage": job.stage,
        "before_script": [],
        "script": list(job.script),
        "after_script": [],
        "tag_list": [],
        "environment": None if job.environment is None else job.environment.name,
        "when": when,
        "allow_failure": when == "manual",
    }


def job_row(job: Job, url: str) -> Json:
    """`GET /projects/:id/jobs/:job_id`."""
    pipeline, made = job.pipeline, _time(job.made_at)
    web_url = f"{url}/{pipeline.project.path}/-"
    row: Json = {
        "id": job.id,
        "status": job.status,
        "stage": job.spec.stage,
        "name": job.spec.name,
        "ref": pipeline.named_ref,
        "tag": pipeline.ref.tag,
        "coverage": None,
        "allow_failure": False,
        "created_at": made,
        "started_at": None if job.status == "manual" else made,
        "finished_at": None if job.ended_at is None else _time(job.ended_at),
        "erased_at": None,
        "duration": None if job.ended_at is None else job.ended_at - job.made_at,
        "queued_duration": 0.1,
        "user": user_row(pipeline.user, url, to_admin=False),
        "commit": _commit(pipeline, made, web_url),
        "pipeline": {
            "id": pipeline.id,
            "iid": pipeline.iid,
            "project_id": pipeline.project.id,
            "sha": pipeline.sha,
            "ref": pipeline.named_ref,
            "status": job.status,
            "source": pipeline.source,
            "created_at": made,
            "updated_at": made,
            "web_url": f"{web_url}/pipelines/{pipeline.id}",
        },
        "web_url": f"{web_url}/jobs/{job.id}",
        "project": {"ci_job_token_scope_enabled": False},
        "artifacts": [],
        "runner": {"id": RUNNER_ID, "description": "sandbox", "active": True, "is_shared": True, "status": "online"},
        "runner_manager": None,
        "artifacts_expire_at": None,
        "archived": False,
        "tag_list": [],
        "source": pipeline.source,
    }
    return row if job.failure is None else {**row, "failure_reason": job.failure}


def _commit(pipeline: Pipeline, made: str, web_url: str) -> Mapping[str, object]:
    author = {"name": pipeline.user.name, "email": f"{pipeline.user.username}@shop.example", "date": made}
    people = {f"{who}_{what}": value for who in ("author", "committer") for what, value in author.items()}
    return {
        "id": pipeline.sha,
        "short_id": pipeline.sha[:8],
        "title": "Begin",
        "message": "Begin\n",
        "parent_ids": [],
        "authored_date": made,
        "committed_date": made,
        "created_at": made,
        "trailers": {},
        "web_url": f"{web_url}/commit/{pipeline.sha}",
        **{name: value for name, value in people.items() if not name.endswith("_date")},
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _not_found(message: str) -> web.Response:
    return web.json_response({"message": message}, status=404)
