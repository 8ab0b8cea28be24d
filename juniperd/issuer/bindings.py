"""Which key may use a job's token: the first that shows it, so that the job may renew and nobody else may use it."""

from __future__ import annotations

import hmac
import sqlite3

from juniperd.issuer.job import Job
from juniperd.issuer.verdict import Refused
from juniperd.jose import LEEWAY

_KEPT = 2 * LEEWAY
"""Seconds a binding outlives its token, which counts for a while beyond its end."""


def taken(connection: sqlite3.Connection, job: Job) -> Refused | None:
    """Why this key may not use this token, or None; nothing is written."""
    row = connection.execute("SELECT thumbprint FROM job_tokens WHERE jti = ?", (job.jti,)).fetchone()
    if row is None or hmac.compare_digest(row[0], job.thumbprint):
        return None
    text = "jti: this token was shown first by another agent's key; run one agent in a job, and keep its folder"
    return Refused("0", "job_bound", text)


def bind(connection: sqlite3.Connection, job: Job, *, now: float) -> Refused | None:
    """Tie the token to the key that shows it, or say why not."""
    connection.execute("DELETE FROM job_tokens WHERE ends_at < ?", (now,))
    connection.execute(
        "INSERT OR IGNORE INTO job_tokens (jti, project_id, job_id, thumbprint, ends_at) VALUES (?, ?, ?, ?, ?)",
        (job.jti, job.project_id, job.id, job.thumbprint, job.ends_at + _KEPT),
    )
    return taken(connection, job)
