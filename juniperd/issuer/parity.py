"""Parity: what a job would hold beside what a laptop holds, claim by claim, and which is within which.

The job is one that the person could write without anybody's review and start: GitLab's rules say whether it would run
(:mod:`juniperd.issuer.gitlab_rules`), and policy says by its own decision what it would hold. A laptop must hold nothing
that no such job holds. Pure: facts in, a comparison out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from juniperd.issuer import claims, decision, gitlab_rules
from juniperd.issuer.claims import AWS_TAGS, Stamp
from juniperd.issuer.facts import Asked, Fact, Facts
from juniperd.issuer.gitlab_rules import Release
from juniperd.issuer.job import Job, said_of
from juniperd.issuer.job_facts import JobFacts, RunningJob
from juniperd.issuer.policy import AwsTarget, GoogleTarget, SignedTarget, Target, token_scopes
from juniperd.issuer.verdict import Case, Grant, JobCase, Refused, Verdict

IN_JOBS_ALONE = "a job's own: a laptop has none, and none is made up"
WHY: Mapping[str, str] = {
    "sub": "names the origin, so that a relying party may tell a laptop from a job",
    "juniper_origin": "a relying party may ask for one of the two",
    "juniper_basis": "a job holds it because GitLab runs it, a laptop because the person may write it",
    "juniper_session": "a laptop's scope may sleep until a debugging session wakes it",
    "pipeline_source": "a laptop is no pipeline, and says so in its place",
    "tag juniper_origin": "a role's trust may ask for one of the two",
    **dict.fromkeys(
        (
            "job_id",
            "pipeline_id",
            "runner_id",
            "runner_environment",
            "sha",
            "ref_protected",
            "environment_protected",
            "user_email",
            "ci_config_ref_uri",
            "ci_config_sha",
        ),
        IN_JOBS_ALONE,
    ),
}
"""Every claim in which the two may differ, and why that is right; any other difference is none that may be."""
SOME = "…"
"""Stands for what only a real job has: its number, its commit."""
_NUMBER = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the two holds, or one line why it holds nothing."""

    grant: Grant | None
    text: str
    reason: str | None = None

    @property
    def holds(self) -> bool:
        """Whether it holds the scope."""
        return self.grant is not None


@dataclass(frozen=True, slots=True)
class Row:
    """One claim at one target; ``why`` is empty where both say the same, and ``right`` False where they must not differ."""

    target: str
    claim: str
    job: object
    laptop: object
    why: str = ""
    right: bool = True


@dataclass(frozen=True, slots=True)
class Parity:
    """The comparison; ``source`` is the pipeline by which the job would be started."""

    job: Side
    laptop: Side
    rows: tuple[Row, ...]
    source: str | None = None

    @property
    def within(self) -> bool:
        """Whether the laptop holds nothing that the job would not."""
        if not self.laptop.holds:
            return True
        return self.job.holds and all(row.right for row in self.rows)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The job's side: the ref it runs on (None: a new branch) and its environment, with GitLab's facts about these."""

    facts: Facts
    ref: str | None
    environment: str | None


def compare(
    case: Case,
    laptop: Verdict,
    chosen: Chosen,
    release: Release | None,
    stamp: Stamp,
    *,
    denied: Refused | None = None,
) -> Parity:
    """Both sides at one moment; ``stamp`` is the laptop's, and names the session where its scope needs one.

    ``denied`` is what an administrator has denied, of which policy and GitLab know nothing.
    """
    source, job = (None, _side(denied)) if denied is not None else _job_side(case, chosen, release)
    theirs = _side(laptop)
    rows = tuple(_rows(case.scope.targets, job.grant, theirs.grant, stamp)) if job.grant or theirs.grant else ()
    return Parity(job, theirs, rows, source)


def _side(verdict: Verdict) -> Side:
    if isinstance(verdict, Refused):
        return Side(None, verdict.text, verdict.reason)
    return Side(verdict.grant, "holds the scope")


def _job_side(case: Case, chosen: Chosen, release: Release | None) -> tuple[str | None, Side]:
    scope = case.scope
    if (unchosen := _unchosen(case, chosen)) is not None:
        return None, _side(unchosen)
    ruling = gitlab_rules.would_run(
        chosen.facts, ref=chosen.ref, environment=chosen.environment, release=release, today=case.today
    )
    if not ruling.allowed or release is None:
        # Not always GitLab's no: it also runs what others wrote or reviewed, which is no job of this person's.
        return None, Side(None, ruling.text, f"gitlab_{ruling.rule}")
    source = next((s for s in ruling.sources if s in scope.sources), None)
    if source is None:
        wanted = ", ".join(sorted(scope.sources))
        return None, Side(None, f"the person starts no pipeline of the sources {wanted}", "source")
    return source, _side(decision.decide(_job_case(case, chosen, source, release)))


def _unchosen(case: Case, chosen: Chosen) -> Refused | None:
    """Why there is no job to speak of: the scope covers several refs or environments, and none of them was chosen."""
    pairs = ((case.scope.ref, chosen.ref), (case.scope.environment, chosen.environment))
    return case.selection.problem if any(pattern and not name for pattern, name in pairs) else None


def _job_case(case: Case, chosen: Chosen, source: str, release: Release) -> JobCase:
    """The job as GitLab would run it: with this person's facts, and numbers that no real job has."""
    facts = chosen.facts
    project = facts.project.value
    job = Job(
        id=_NUMBER,
        pipeline_id=_NUMBER,
        project_id=project.id if project else 0,
        project_path=project.path if project else "",
        namespace_id=project.namespace_id if project else 0,
        runs_in=project.id if project and release.names_forks else None,
        user_id=facts.link.value or 0,
        source=source,
        ref=chosen.ref or f"branch:{SOME}",
        ref_protected=False,
        environment=chosen.environment,
        environment_protected=False,
        environment_action="start",
        runner_id=_NUMBER,
        said=dict.fromkeys(said_of(source), SOME),
        jti=SOME,
        ends_at=0.0,
        thumbprint="",
        token_digest="",
    )
    asked = Asked("the job", "as this person would write it", facts.oldest)
    running = RunningJob(job.id, "running", job.project_id, job.pipeline_id, job.user_id, job.ref or "")
    found = JobFacts(
        Fact(asked, running), facts.user, facts.project, facts.membership, facts.environment, facts.named_refs
    )
    return JobCase(case.policy, case.scope, job, found, case.today)


# --- claim by claim ---------------------------------------------------------------------------------------------------


def _rows(targets: Sequence[Target], job: Grant | None, laptop: Grant | None, stamp: Stamp) -> Iterator[Row]:
    awake = replace(stamp, session=None, session_ends=None)
    for target in targets:
        name = target.relying_party.name
        theirs, mine = _said(job, target, awake), _said(laptop, target, stamp)
        for claim in dict.fromkeys((*theirs, *mine)):
            yield _row(name, claim, theirs.get(claim), mine.get(claim), both=bool(job and laptop))


def _said(grant: Grant | None, target: Target, stamp: Stamp) -> Mapping[str, object]:
    """What is asserted at a target: the claims of a token of ours, or what a deploy token may do and until when."""
    if grant is None:
        return {}
    if isinstance(target, SignedTarget):
        # Its own token is traded at once; what the tool holds is what comes of it.
        becomes = (
            {"life of what it becomes": int(grant.scope.ttl)} if isinstance(target, AwsTarget | GoogleTarget) else {}
        )
        return {**_shown(claims.build(grant, target, stamp)), **becomes}
    scopes = token_scopes(target)
    if not scopes:
        return {"made of": f"what the scope holds at {target.relying_party.made_of}"}
    ends = int(stamp.ends(grant, target)) - int(stamp.now)
    return {"deploy token of project": grant.project.id, "scopes": list(scopes), "life": ends}


def _shown(built: Mapping[str, object]) -> Mapping[str, object]:
    """Without what differs from token to token; times as the life that they make."""
    life = {"life": int(str(built["exp"])) - int(str(built["iat"]))}
    shown = {k: v for k, v in built.items() if k not in {"iat", "nbf", "exp", "jti", "juniper_policy"}} | life
    shown |= _tags(shown.pop(AWS_TAGS, {}))
    # Of a job that does not exist GitLab has not said whether its ref and environment are protected.
    unsaid = ("ref_protected", "environment_protected")
    return {k: SOME if v in (str(_NUMBER), _NUMBER) or k in unsaid else v for k, v in shown.items()}


def _tags(tags: object) -> Mapping[str, object]:
    """The tags of an AWS session one by one, of which only the origin's may differ."""
    found = tags if isinstance(tags, Mapping) else {}
    principal = found.get("principal_tags", {})
    said = {f"tag {name}": values for name, values in principal.items()}
    return said | ({"transitive tags": found["transitive_tag_keys"]} if "transitive_tag_keys" in found else {})


def _row(target: str, claim: str, job: object, laptop: object, *, both: bool) -> Row:
    if job == laptop or not both:
        return Row(target, claim, job, laptop)
    if claim == "life":
        shorter = isinstance(job, int) and isinstance(laptop, int) and laptop <= job
        return Row(
            target, claim, job, laptop, "a laptop's ends with its session" if shorter else "lives longer", shorter
        )
    if claim not in WHY or (WHY[claim] == IN_JOBS_ALONE and laptop is not None):
        return Row(target, claim, job, laptop, "nothing that may differ", right=False)
    return Row(target, claim, job, laptop, WHY[claim])


def verdict_line(parity: Parity) -> str:
    """The last line: which is within which."""
    if not parity.laptop.holds and not parity.job.holds:
        return "neither holds anything: the laptop is within the job"
    if not parity.laptop.holds:
        return "the laptop holds nothing, and is within the job"
    if parity.within:
        return "the laptop is within the job"
    if not parity.job.holds:
        return "the laptop is NOT within the job, which would hold nothing"
    wrong = ", ".join(dict.fromkeys(row.claim for row in parity.rows if not row.right))
    return f"the laptop is NOT within the job: {wrong}"
