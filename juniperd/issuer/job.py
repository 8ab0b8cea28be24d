"""A job of GitLab's as its ID token names it: read strictly, with the types that GitLab gives its claims.

``sub`` decides nothing here: each project chooses what its own is made of, and a branch may be named as it likes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from juniperd import jose
from juniperd.errors import TokenRejected
from juniperd.issuer.facts import is_whole
from juniperd.jose import VerifiedClaims

IDENTITY = "pipeline:"
"""What stands in the trail where a person's identity would: no table of ``issuer.toml`` has such a name."""
_NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_PLACES = {"refs/heads/": "branch", "refs/tags/": "tag"}
MERGE_REQUEST = "merge_request_event"
"""The source of pipelines whose ref is none of the project's: they run a merge request's head, or what its merge would give."""
_LONGEST = 1024
_CONFIG_AT = "ci_config_ref_uri"
_SAID = (
    "user_email",
    "runner_environment",
    "sha",
    _CONFIG_AT,
    "ci_config_sha",
)
"""Claims of jobs alone that go on as GitLab signed them, beside those that are read here."""


@dataclass(frozen=True, slots=True)
class Job:
    """A verified job, and the key that its agent proved; ids are numbers here.

    ``runs_in`` is the project that runs the job, None where GitLab is too old to say (before 18.4). ``ref`` is
    ``branch:NAME`` or ``tag:NAME``, None for what is neither. A merge request's is neither, though its token names the
    branch that it comes from: merged with a branch of the author's, even a protected one runs what nobody has reviewed.
    """

    id: int
    pipeline_id: int
    project_id: int
    project_path: str
    namespace_id: int
    runs_in: int | None
    user_id: int
    source: str
    ref: str | None
    ref_protected: bool
    environment: str | None
    environment_protected: bool
    environment_action: str | None
    runner_id: int | None
    said: Mapping[str, str]
    jti: str
    ends_at: float
    thumbprint: str
    token_digest: str
    comes_from: str | None = None
    """The branch or tag that the token names, whatever it counts for: the trail has it."""

    @property
    def key(self) -> str:
        """What the job is called in the trail."""
        return f"{self.project_id}/{self.id}"

    @property
    def name(self) -> tuple[str, str]:
        """The job, whichever of its tokens it comes with."""
        return IDENTITY, self.key

    @property
    def protected_environment(self) -> bool:
        """Whether approvals may be asked for where the job is; without an environment nothing is."""
        return self.environment is not None and self.environment_protected


def job_of(claims: VerifiedClaims, thumbprint: str, digest: str) -> Job:
    """The job behind a verified token; TokenRejected names the claim that is not of GitLab's shape."""
    environment = _text(claims, "environment") if "environment" in claims else None
    source, ref = _text(claims, "pipeline_source"), _ref(claims)
    return Job(
        id=_number(claims, "job_id"),
        pipeline_id=_number(claims, "pipeline_id"),
        project_id=_number(claims, "project_id"),
        project_path=_text(claims, "project_path"),
        namespace_id=_number(claims, "namespace_id"),
        runs_in=_number(claims, "job_project_id") if claims.get("job_project_id") is not None else None,
        user_id=_number(claims, "user_id"),
        source=source,
        ref=None if source == MERGE_REQUEST else ref,
        ref_protected=_flag(claims, "ref_protected"),
        environment=environment,
        # One that says nothing of protection is taken for a protected one, where more is asked.
        environment_protected=_flag(claims, "environment_protected") if "environment_protected" in claims else True,
        environment_action=_text(claims, "environment_action")
        if claims.get("environment_action") is not None
        else None,
        runner_id=_runner(claims),
        said={name: _text(claims, name) for name in said_of(source) if claims.get(name) is not None},
        jti=_text(claims, "jti"),
        ends_at=jose.seconds(claims, "exp"),
        thumbprint=thumbprint,
        token_digest=digest,
        comes_from=ref,
    )


def said_of(source: str) -> tuple[str, ...]:
    """The claims that go on; of a merge request's not where its configuration lies, which names a branch it is not on."""
    return tuple(name for name in _SAID if source != MERGE_REQUEST or name != _CONFIG_AT)


def _ref(claims: Mapping[str, object]) -> str | None:
    """The ref by its full path, with which no tag passes for a branch of its name; what contradicts itself is no token."""
    path, name, kind = (_text(claims, key) for key in ("ref_path", "ref", "ref_type"))
    for place, found in _PLACES.items():
        if path.startswith(place):
            if (kind, name) != (found, path.removeprefix(place)):
                raise TokenRejected("ref_path", "the token's ref_path, ref_type and ref are not of one ref")
            return f"{found}:{name}"
    return None


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value or len(value) > _LONGEST or not is_whole(value):
        raise TokenRejected(name, f"the token's {name} is missing or not text")
    return value


def _number(claims: Mapping[str, object], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise TokenRejected(name, f"the token's {name} is not GitLab's text of an id")
    return int(value)


def _flag(claims: Mapping[str, object], name: str) -> bool:
    value = claims.get(name)
    if value not in ("true", "false"):
        raise TokenRejected(name, f"the token's {name} is neither 'true' nor 'false'")
    return value == "true"


def _runner(claims: Mapping[str, object]) -> int | None:
    value = claims.get("runner_id")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TokenRejected("runner_id", "the token's runner_id is not a number")
    return value
