"""A job's ID token, where GitLab puts it: in the variable that ``id_tokens`` names (GitLab CI/CD YAML, ``id_tokens``).

Nothing is decided by what is read here: which issuer the token is for, and which job it is of, the issuer verifies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from juniperd import unverified
from juniperd.errors import LoginRequired
from juniperd.model import Secret

VARIABLE = "JUNIPER_ID_TOKEN"
_CURE = "add to the job: id_tokens: {JUNIPER_ID_TOKEN: {aud: https://your-issuer}}"
_JOB = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


@dataclass(frozen=True, slots=True)
class JobToken:
    """A job's ID token; ``issuer`` is the one that its audience names, ``job`` the number of the job it says it is of."""

    token: Secret
    issuer: str
    job: str
    ends_at: float


def found(environ: Mapping[str, str], *, variable: str = VARIABLE) -> JobToken:
    """The token of the job that runs here; :class:`LoginRequired` with what its configuration lacks."""
    text = environ.get(variable, "")
    if not text:
        where = "no job of GitLab's runs here" if environ.get("GITLAB_CI") != "true" else f"the job has no {variable}"
        msg = f"{where}, so there is no ID token to show"
        raise LoginRequired(msg, _CURE)
    claims = unverified.read(text)
    job = unverified.text(claims, "job_id") if claims is not None else None
    ends_at = unverified.moment(claims, "exp") if claims is not None else None
    if claims is None or job is None or not _JOB.fullmatch(job) or ends_at is None:
        msg = f"{variable} is not the ID token of a job"
        raise LoginRequired(msg, _CURE)
    return JobToken(Secret(text), _audience(claims, variable), job, ends_at)


def _audience(claims: unverified.UnverifiedClaims, variable: str) -> str:
    audience = claims.get("aud")
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    if not isinstance(audience, str) or not audience:
        msg = f"{variable} is for more than one audience, or for none"
        raise LoginRequired(msg, _CURE)
    return audience
