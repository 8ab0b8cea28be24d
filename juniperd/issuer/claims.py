"""What an issued token says: pure, from a grant and a target to claims.

Names and types of GitLab's CI claims (ids are strings of digits, roles lower-case names), and only for facts that
were checked. What exists in jobs alone (job, pipeline, runner, commit) is never made up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

from juniperd.issuer.facts import User
from juniperd.issuer.job import Job
from juniperd.issuer.keys import LONGEST_LIFE, TOKEN_LIFE
from juniperd.issuer.policy import ROLES, ApiTarget, AwsTarget, GoogleTarget, KubernetesTarget, SignedTarget, Target
from juniperd.issuer.verdict import Grant
from juniperd.model import Origin

SignedClaims = NewType("SignedClaims", dict[str, object])
"""Claims made for signing; made nowhere else."""

CLIENT_ID = "juniper"
"""What an API's token calls the client (RFC 9068 section 2.2): every agent is the same one."""
_AWS = "https://aws.amazon.com/"
AWS_TAGS = _AWS + "tags"
"""The tags of the session that AWS makes of a token."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a token says of its own making."""

    issuer: str
    jti: str
    now: float
    policy: str
    session: str | None = None
    session_ends: float | None = None

    def ends(self, grant: Grant, target: Target) -> float:
        """When the token ends: soon where it is traded, else with the scope's life or the session, if that is sooner."""
        if isinstance(target, AwsTarget | GoogleTarget):
            return self.now + TOKEN_LIFE
        ends = self.now + min(grant.scope.ttl, LONGEST_LIFE)
        return ends if self.session_ends is None else min(ends, self.session_ends)


def subject(scope: str, origin: Origin, project_id: int) -> str:
    """The fixed form that even a relying party which tests ``sub`` alone can tell scopes and origins apart by."""
    return f"scope:{scope}:origin:{origin}:project_id:{project_id}"


def scope_group(scope: str) -> str:
    """The group at a cluster that is one scope's own."""
    return f"juniper:scope:{scope}"


def build(grant: Grant, target: SignedTarget, stamp: Stamp) -> SignedClaims:
    """The claims of one issued token."""
    claims: dict[str, object] = {
        "iss": stamp.issuer,
        "sub": subject(grant.scope.name, grant.origin, grant.project.id),
        "aud": target.relying_party.audience,
        "iat": int(stamp.now),
        "nbf": int(stamp.now),
        "exp": int(stamp.ends(grant, target)),
        "jti": stamp.jti,
        "juniper_origin": grant.origin.value,
        "juniper_scope": grant.scope.name,
        "juniper_basis": grant.basis,
        "juniper_policy": stamp.policy,
    }
    if stamp.session is not None:
        claims["juniper_session"] = stamp.session
    claims |= _gitlab(grant)
    return SignedClaims(claims | _of_target(grant, target))


def _of_target(grant: Grant, target: SignedTarget) -> dict[str, object]:
    if isinstance(target, AwsTarget):
        return _aws(grant, target)
    if isinstance(target, GoogleTarget):
        # Google's provider maps the claims that every token has: its subject is made of origin, user id and scope.
        return {}
    return _kubernetes(grant, target) if isinstance(target, KubernetesTarget) else _api(grant)


def _gitlab(grant: Grant) -> dict[str, object]:
    claims: dict[str, object] = {
        "namespace_id": str(grant.project.namespace_id),
        "namespace_path": grant.project.namespace_path,
        "project_id": str(grant.project.id),
        "project_path": grant.project.path,
        "user_id": str(grant.user.id),
        "user_login": grant.user.login,
        "user_access_level": role_name(grant.level),
        "pipeline_source": "juniper" if grant.job is None else grant.job.source,
    }
    if grant.job is not None:
        claims |= _job(grant.job)
        if grant.scope.environment is not None:
            claims["environment_protected"] = _flag(grant.job.environment_protected)
    if grant.scope.environment is not None and grant.environment is not None:
        claims["environment"] = grant.environment.name
        claims["deployment_tier"] = grant.environment.tier
    if grant.ref is not None:
        kind, _, name = grant.ref.partition(":")
        place = "heads" if kind == "branch" else "tags"
        claims |= {"ref": name, "ref_type": kind, "ref_path": f"refs/{place}/{name}"}
    return claims


def _job(job: Job) -> dict[str, object]:
    """What exists in jobs alone, as GitLab signed it."""
    claims: dict[str, object] = {
        "job_id": str(job.id),
        "pipeline_id": str(job.pipeline_id),
        "ref_protected": _flag(job.ref_protected),
        **job.said,
    }
    if job.runner_id is not None:
        claims["runner_id"] = job.runner_id
    return claims


def _flag(value: bool) -> str:  # noqa: FBT001  # the one thing there is to say
    return "true" if value else "false"


def role_name(level: int) -> str:
    """The name of the highest role a level reaches."""
    return max((value, name) for name, value in ROLES.items() if value <= max(level, min(ROLES.values())))[1]


def session_name(user: User) -> str:
    """``<id>-<login>`` within what AWS takes for session names and source identities."""
    return re.sub(r"[^A-Za-z0-9_+=,.@-]", "-", user.label)[:64]


def _aws(grant: Grant, target: AwsTarget) -> dict[str, object]:
    tags = {
        "juniper_scope": [grant.scope.name],
        "juniper_origin": [grant.origin.value],
        "project_id": [str(grant.project.id)],
    }
    return {
        AWS_TAGS: {"principal_tags": tags, "transitive_tag_keys": list(tags)},
        _AWS + "source_identity": session_name(grant.user),
        _AWS + "roles": [target.role_arn],
    }


def _kubernetes(grant: Grant, target: KubernetesTarget) -> dict[str, object]:
    """Of the groups that the scope lists the one that GitLab's agent gives to jobs of this very environment."""
    slug = grant.environment.slug if grant.environment is not None else None
    own = f"gitlab:project_env:{grant.project.id}:{slug}"
    return {
        "preferred_username": grant.user.label,
        "groups": [scope_group(grant.scope.name), *(group for group in target.groups if group == own)],
    }


def _api(grant: Grant) -> dict[str, object]:
    """An access token of RFC 9068: who it is for, and which client it was made for."""
    return {"client_id": CLIENT_ID, "scope": grant.scope.name, "preferred_username": grant.user.label}


def token_type(target: SignedTarget) -> str:
    """The ``typ`` of its header: an access token says so (RFC 9068 section 2.1)."""
    return "at+jwt" if isinstance(target, ApiTarget) else "JWT"
