"""What a job must show, check by check: each answers a refusal or nothing.

GitLab has asked already whether the job may run, on its ref and in its environment; asked here is whether it is the job
that the scope means, and whether it still runs. Every refusal's line names the claim or the fact, and ends with a cure.
"""

from __future__ import annotations

from collections.abc import Callable

from juniperd.issuer import glob
from juniperd.issuer.checks import Checks, below_role, closed, said, troubled
from juniperd.issuer.facts import Asked, Fact
from juniperd.issuer.job import Job
from juniperd.issuer.job_facts import RunningJob
from juniperd.issuer.policy import NEVER_A_FORKS
from juniperd.issuer.verdict import JobCase, Refused
from juniperd.model import Origin


def _check_origin(case: JobCase) -> Refused | None:
    if Origin.PIPELINE not in case.scope.origins:
        return Refused("0", "origin", "the scope is for laptops alone; ask its owner to add the origin pipeline")
    return None


def _check_fork(case: JobCase) -> Refused | None:
    """A merge request's pipeline of a fork names the fork as project, and runs what a stranger wrote."""
    job = case.job
    if job.runs_in is None:
        if job.source in NEVER_A_FORKS:
            return None
        text = f"the token has no job_project_id (GitLab below 18.4), so pipeline_source '{job.source}' may be a fork's"
        return Refused("0", "fork", f"{text}; upgrade GitLab, or run the job on a branch")
    if job.runs_in != job.project_id:
        text = f"job_project_id is {job.runs_in} and project_id {job.project_id}, so it is a fork's merge request"
        return Refused("0", "fork", f"{text}; run the job on a branch of the project itself")
    return None


def _check_source(case: JobCase) -> Refused | None:
    if case.job.source not in case.scope.sources:
        wanted = ", ".join(sorted(case.scope.sources))
        text = f"pipeline_source is '{case.job.source}', and the scope takes {wanted}"
        return Refused("0", "source", f"{text}; start the pipeline otherwise, or ask the scope's owner for sources")
    return None


def _check_running(case: JobCase) -> Refused | None:
    return ended(case.facts.job, case.job)


def ended(fact: Fact[RunningJob | None], claimed: Job) -> Refused | None:
    """Why what GitLab says is not that the very job of the token runs, or None."""
    if (refused := troubled("1", fact)) is not None:
        return refused
    job = fact.value
    if job is None:
        text = f"GitLab has no job {claimed.id} in project {claimed.project_id}"
        return Refused("1", "job_unknown", f"{text}; run it again")
    ours = (claimed.id, claimed.project_id, claimed.pipeline_id, claimed.user_id)
    if (job.id, job.project_id, job.pipeline_id, job.user_id) != ours:
        return Refused("1", "job_mismatch", "GitLab has another job of that job_id; run it again")
    if claimed.ref not in (None, job.ref):
        # As of what a merge request's pipeline starts, which runs what its token does not say.
        text = f"ref_path is of {claimed.ref}, and GitLab has the job on {job.ref}"
        return Refused("1", "job_mismatch", f"{text}; run it in a pipeline of the branch or tag itself")
    if job.status != "running":
        return Refused("1", "job_ended", f"the job is {job.status}, and holds nothing any more; run it again")
    return None


def _check_project(case: JobCase) -> Refused | None:
    if (refused := troubled("2", case.facts.project)) is not None:
        return refused
    project, job, scope = case.facts.project.value, case.job, case.scope
    if project is None or (project.id, project.path) != (job.project_id, job.project_path):
        text = f"project_path is '{job.project_path}', and project {job.project_id} is elsewhere now"
        return Refused("2", "project_mismatch", f"{text}; run the job again")
    if scope.project_id not in (None, project.id) or not glob.matches(scope.project, project.path):
        text = f"the scope is for {scope.project}, and the job of {project.path} ({project.id})"
        return Refused("2", "project_mismatch", f"{text}; ask the policy's owner to mend project and project_id")
    if scope.namespace_id is not None and {project.namespace_id, job.namespace_id} != {scope.namespace_id}:
        text = f"the scope is for namespace_id {scope.namespace_id}, and the job of {job.namespace_id}"
        return Refused("2", "namespace_mismatch", f"{text}; ask the policy's owner")
    return closed(project, scope)


def _check_user(case: JobCase) -> Refused | None:
    """Who started the job: people, and GitLab's own bots, which start pipelines too."""
    if (refused := troubled("2", case.facts.user)) is not None:
        return refused
    user = case.facts.user.value
    if user is None or user.id != case.job.user_id or user.state != "active" or user.locked:
        return Refused("2", "user_inactive", "user_id is of no active account; have somebody else start the pipeline")
    return None


def _check_membership(case: JobCase) -> Refused | None:
    if (refused := troubled("2", case.facts.membership)) is not None:
        return refused
    member = case.facts.membership.value
    if member is None or not member.holds_on(case.today):
        return Refused("2", "not_a_member", "user_id is of no member of the project; have a member start the pipeline")
    return below_role(case.scope, member)


def _check_ref(case: JobCase) -> Refused | None:
    pattern, ref = case.scope.ref, case.job.ref
    if pattern is None:
        return None
    if ref is None or not glob.matches(pattern, ref):
        text = f"the scope is for {pattern}, and ref_path is of {ref or 'a merge request'}"
        return Refused("3", "ref_mismatch", f"{text}; run the job there")
    named = case.facts.named_refs
    if named is None or named.value is None:
        return troubled("3", named) if named is not None else Refused("3", "ref_missing", "ref: not asked; try again")
    name = ref.partition(":")[2]
    if len(named.value) > 1:
        return Refused("3", "ref_ambiguous", f"ref: '{name}' is a branch and a tag; rename one of them")
    if ref not in named.value:
        return Refused(
            "3", "ref_missing", f"ref: the project has no {ref.replace(':', ' ')} any more; run the job anew"
        )
    return None


def _check_environment(case: JobCase) -> Refused | None:
    pattern, job = case.scope.environment, case.job
    if pattern is None:
        return None
    if job.environment is None or not glob.matches(pattern, job.environment):
        found = f"environment is '{job.environment}'" if job.environment else "the job has none"
        return Refused(
            "4", "environment_mismatch", f"the scope is for environment {pattern}, and {found}; mend the job"
        )
    if job.protected_environment and job.environment_action != "start":
        # Only a deployment waits for approvals, and any other action would step past them.
        action = job.environment_action
        found = "the token has no environment_action" if action is None else f"environment_action is '{action}'"
        text = f"{found}, and the environment is protected"
        return Refused("4", "environment_action", f"{text}; use a job that deploys")
    if (refused := troubled("4", case.facts.environment)) is not None:
        return refused
    environment = case.facts.environment.value
    if environment is None or environment.name != job.environment:
        text = f"environment: the project has no '{job.environment}' any more"
        return Refused("4", "environment_missing", f"{text}; run the job again")
    return None


# --- what each check looked at ----------------------------------------------------------------------------------------


def _token(*claims: str) -> Callable[[JobCase], tuple[Asked, ...]]:
    return lambda case: (said(f"the token's {', '.join(claims)}", case.job.key),)


def _ref_evidence(case: JobCase) -> tuple[Asked, ...]:
    named = case.facts.named_refs
    return (named.asked,) if named is not None else (said("the token's ref", case.job.ref or "neither branch nor tag"),)


JOB_CHECKS: Checks[JobCase] = (
    ("0", _check_origin, lambda c: (said("the scope's origins", ", ".join(sorted(c.scope.origins))),)),
    ("0", _check_fork, _token("project_id", "job_project_id")),
    ("0", _check_source, lambda c: (said("the token's pipeline_source", c.job.source),)),
    ("1", _check_running, lambda c: (c.facts.job.asked,)),
    ("2", _check_project, lambda c: (c.facts.project.asked,)),
    ("2", _check_user, lambda c: (c.facts.user.asked,)),
    ("2", _check_membership, lambda c: (c.facts.membership.asked,)),
    ("3", _check_ref, _ref_evidence),
    ("4", _check_environment, lambda c: (c.facts.environment.asked,)),
)
