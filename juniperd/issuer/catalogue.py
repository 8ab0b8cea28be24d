"""``/catalogue`` and ``/explain``: what this person may hold, and why not; only of projects they can see."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from juniperd.errors import one_line
from juniperd.issuer import audit, decision, refusal
from juniperd.issuer.callers import Callers, untold
from juniperd.issuer.cures import cure
from juniperd.issuer.facts import User
from juniperd.issuer.ground import Ground
from juniperd.issuer.inquiry import Inquiry
from juniperd.issuer.judge import Judge
from juniperd.issuer.policy import AwsTarget, GitTarget, GoogleTarget, KubernetesTarget, RegistryTarget, Scope, Target
from juniperd.issuer.subject import Subject
from juniperd.issuer.verdict import Permitted, Refused, Verdict
from juniperd.model import Origin

_AT_ONCE = 8


class Catalogue:
    """Answers a verified person; nothing here is issued, and only who asks why is written down."""

    def __init__(self, ground: Ground, *, judge: Judge, inquiry: Inquiry, callers: Callers) -> None:
        self._state = ground.state
        self._clock = ground.clock
        self._new_id = ground.new_id
        self._judge = judge
        self._inquiry = inquiry
        self._callers = callers

    async def listing(self, subject: Subject) -> dict[str, object]:
        """Every laptop scope of the projects that this person is at least Reporter of."""
        self._callers.check(subject)
        user = await self._callers.user(subject)
        policy = self._judge.policy
        gate = asyncio.Semaphore(_AT_ONCE)

        async def of(project_id: int) -> list[dict[str, object]]:
            async with gate:
                return await self._of_project(subject, user, project_id)

        found = await asyncio.gather(*(of(p) for p in policy.laptop_projects))
        order = {name: place for place, name in enumerate(policy.scopes)}
        scopes = sorted((row for rows in found for row in rows), key=lambda row: order[str(row["name"])])
        return {
            "version": 1,
            "user": {"id": user.id, "login": user.login},
            "policy": policy.digest,
            "scopes": scopes,
        }

    async def explanation(
        self, subject: Subject, name: str, *, environment: str | None, ref: str | None
    ) -> dict[str, object]:
        """What was asked of GitLab, what was answered, and which rule decided; an id alone for who may not know."""
        self._callers.check(subject)
        number = self._new_id()
        scope = self._judge.policy.scope(name)
        if scope is None:
            await self._record(number, subject, name, Refused("select", "unknown_scope", ""))
            await untold(self._judge, subject, number)
            return _id_alone(number)
        case = await self._judge.case(subject, scope, environment=environment, ref=ref)
        verdict, steps = self._judge.explain(case, subject)
        refused = verdict if isinstance(verdict, Refused) else None
        await self._record(number, subject, name, refused)
        if not decision.entitled(case):
            await untold(self._judge, subject, number, refused)
            return _id_alone(number)
        if refused is not None and refused.passing:
            raise refusal.of(refused, decision=number, entitled=False)
        return {
            "scope": name,
            "verdict": "refused" if refused else "permitted",
            "reason": refused.reason if refused else None,
            "text": refused.text if refused else None,
            "rule": refused.rule if refused else None,
            "cure": cure(refused, case) if refused else None,
            "steps": [{"rule": s.rule, "asked": s.asked, "answered": s.answered, "verdict": s.verdict} for s in steps],
            "id": number,
        }

    async def _record(self, number: str, subject: Subject, scope: str, refused: Refused | None) -> None:
        """Whoever hears an id and no reason names it to an auditor, who finds both here; no decision, so no verdict."""
        fields = {
            "id": number,
            "identity": subject.identity.name,
            "subject": subject.key,
            "scope": one_line(scope, 64),
            "rule": refused.rule if refused else None,
            "reason": refused.reason if refused else None,
        }
        now = self._clock()
        await self._state.write(lambda c: audit.append(c, "explain", at=now, fields=fields))

    async def _of_project(self, subject: Subject, user: User, project_id: int) -> list[dict[str, object]]:
        """The rows of one project; nothing more is asked where membership already says that there are none."""
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        fact = await self._inquiry.membership(project_id, user.id)
        self._callers.check_asked(fact)
        member = fact.value
        if member is None or not member.holds_on(today) or member.level < decision.REPORTER:
            return []
        scopes = [s for s in self._judge.policy.of_project(project_id) if Origin.LAPTOP in s.origins]
        rows = await asyncio.gather(*(self._row(subject, scope) for scope in scopes))
        return [row for row in rows if row is not None]

    async def _row(self, subject: Subject, scope: Scope) -> dict[str, object] | None:
        case = await self._judge.case(subject, scope)
        for fact in (case.facts.user, case.facts.project, case.facts.membership):
            self._callers.check_asked(fact)
        if not decision.entitled(case):
            return None
        return row_of(scope, self._judge.verdict(case, subject))


def _id_alone(number: str) -> dict[str, object]:
    return {"verdict": "refused", "id": number}


def row_of(scope: Scope, verdict: Verdict) -> dict[str, object]:
    """A scope as whoever asks is shown it: what it reaches, and whether it is theirs."""
    held, reason = _held(verdict)
    return {
        "name": scope.name,
        "about": scope.about,
        "project": scope.project,
        "project_id": scope.project_id,
        "environment": scope.environment,
        "ref": scope.ref,
        "access": scope.access.value,
        "activation": scope.activation.value,
        "ttl": int(scope.ttl),
        "read_only": scope.read_only,
        "origins": sorted(scope.origins),
        "held": held,
        "reason": reason,
        "targets": [_target(t) for t in scope.targets],
    }


def _held(verdict: Verdict) -> tuple[bool, str | None]:
    """Whether the scope is this person's; a sleeping one is, and a session wakes it."""
    if isinstance(verdict, Permitted) or verdict.reason == "asleep":
        return True, None
    return False, verdict.text


def _target(target: Target) -> dict[str, object]:
    party = target.relying_party
    said: dict[str, object] = {"relying_party": party.name, "kind": party.kind.value}
    if isinstance(target, KubernetesTarget):
        return said | _cluster(target)
    if isinstance(target, RegistryTarget):
        return said | _registry(target)
    if isinstance(target, GitTarget):
        return said | {"host": party.host}
    if isinstance(target, AwsTarget):
        said |= {"role_arn": target.role_arn, "region": target.region, "account_id": target.account_id}
    if isinstance(target, GoogleTarget):
        said |= {"audience": party.audience, "service_account": target.service_account, "project": target.project}
    return said | {"endpoint": party.endpoint} if party.endpoint else said


def _registry(target: RegistryTarget) -> dict[str, object]:
    """A registry's host and whose it is; of ECR where its logins are made, of GitLab's what ours may do there."""
    party = target.relying_party
    said: dict[str, object] = {"host": party.host, "provider": party.provider}
    if party.made_of is None:
        return said | {"permissions": list(target.permissions)}
    if not target.is_ecr:
        return said
    said |= {"region": party.region}
    return said | {"endpoint": party.endpoint} if party.endpoint else said


def _cluster(target: KubernetesTarget) -> dict[str, object]:
    """Where a cluster is and how it is known; one of EKS or GKE also by the name that its cloud has for it."""
    party = target.relying_party
    said: dict[str, object] = {
        "server": party.server,
        "ca_sha256": party.ca_sha256,
        "certificate_authority": party.certificate_authority,
        "namespace": target.namespace,
    }
    said |= {"eks": party.eks, "region": party.region} if party.eks else {}
    return said | ({"gke": party.gke} if party.gke else {})
