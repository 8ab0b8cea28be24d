"""The hourly proof that the reader token sees enough: what it cannot see could hide a protection.

A project it cannot see through is *blind*, and its scopes are refused until a later proof says otherwise. A GitLab
that is late proves nothing either way, and changes nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from juniperd.issuer import facts as shapes
from juniperd.issuer.facts import Malformed, Trouble
from juniperd.issuer.gitlab import Gitlab, Question
from juniperd.issuer.policy import Policy
from juniperd.model import Clock

EVERY = 3600.0
SOON = 60.0
"""Seconds to the next proof: after a whole one, and after one that GitLab was too late for."""
WARN_DAYS = 30
_MAINTAINER = 40


@dataclass(slots=True)
class Findings:
    """What a proof found; ``whole`` is False where GitLab was late, and then nothing of it counts."""

    blind: set[int] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    whole: bool = True
    reader_ends: float | None = None
    """The first second of the day on which the reader token counts no more; None where it has no end, or tells none."""


class Proof:
    """Asks as decisions do, and looks at what cannot be seen from within one.

    ``by_extern_uid``: whether some identity is linked so, which takes an administrator's token.
    """

    def __init__(self, gitlab: Gitlab, *, unlicensed: bool, clock: Clock, by_extern_uid: bool = True) -> None:
        self._gitlab = gitlab
        self._by_extern_uid = by_extern_uid
        self._unlicensed = unlicensed
        self._clock = clock

    async def run(self, policy: Policy) -> Findings:
        """Prove every project that a laptop scope names."""
        findings = Findings()
        administrator = await self._administrator(findings)
        await self._expiry(findings)
        projects = policy.laptop_projects
        seen = await asyncio.gather(*(self._project(p, findings, administrator=administrator) for p in projects))
        findings.blind |= {p for p, enough in zip(projects, seen, strict=True) if not enough}
        if self._by_extern_uid and not administrator and findings.whole:
            findings.warnings.append("the reader token is no administrator's, so extern_uid links nobody")
            findings.blind |= set(projects)
        return findings

    async def _rows(self, findings: Findings, *path: str | int, licensed: bool = True) -> list[object] | None:
        reply = await self._gitlab.ask(Question(path, many=True))
        if not isinstance(reply, Trouble):
            return reply.rows
        if reply.passing:
            findings.whole = False
            return None
        if reply.reason == "hidden" and not licensed:
            return []
        findings.warnings.append(reply.text)
        return None

    async def _object(self, findings: Findings, *path: str | int) -> shapes.Raw:
        reply = await self._gitlab.ask(Question(path))
        if isinstance(reply, Trouble):
            findings.whole = findings.whole and not reply.passing
            return {}
        return reply.value if isinstance(reply.value, dict) else {}

    async def _administrator(self, findings: Findings) -> bool:
        return (await self._object(findings, "user")).get("is_admin") is True

    async def _expiry(self, findings: Findings) -> None:
        """The token's end is watched, for on that day every laptop is refused."""
        token = await self._object(findings, "personal_access_tokens", "self")
        scopes = token.get("scopes")
        if isinstance(scopes, list) and "api" in scopes:
            findings.warnings.append("the reader token may write (scope api); give it read_api alone")
        ends = token.get("expires_at")
        try:
            day = date.fromisoformat(str(ends))
        except ValueError:
            return
        findings.reader_ends = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        left = (day - datetime.fromtimestamp(self._clock(), UTC).date()).days
        if left <= WARN_DAYS:
            findings.warnings.append(f"the reader token ends in {left} days; make a new one")

    async def _project(self, project_id: int, findings: Findings, *, administrator: bool) -> bool:
        place: tuple[str, int] = ("projects", project_id)
        lists = await asyncio.gather(
            self._rows(findings, *place, "protected_branches"),
            self._rows(findings, *place, "protected_tags"),
            self._rows(findings, *place, "protected_environments", licensed=not self._unlicensed),
        )
        groups = await self._rows(findings, *place, "groups")
        above = await asyncio.gather(*(self._group(g, findings) for g in groups or []))
        project = await self._object(findings, *place)
        enough = administrator or _level(project) >= _MAINTAINER
        return all(rows is not None for rows in lists) and groups is not None and all(above) and enough

    async def _group(self, row: object, findings: Findings) -> bool:
        try:
            number = shapes.number(shapes.mapping(row), "id")
        except Malformed:
            return False
        path = ("groups", number, "protected_environments")
        return await self._rows(findings, *path, licensed=not self._unlicensed) is not None


def _level(project: shapes.Raw) -> int:
    """The reader's own level on a project, direct or through its group."""
    permissions = project.get("permissions")
    found = [0]
    for access in permissions.values() if isinstance(permissions, dict) else ():
        value = access.get("access_level") if isinstance(access, dict) else None
        found.append(value if isinstance(value, int) else 0)
    return max(found)
