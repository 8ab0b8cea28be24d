"""``GET /parity``: what a job that this person writes would hold of a scope, beside what their laptop holds."""

from __future__ import annotations

from collections.abc import Mapping

from juniperd.errors import one_line
from juniperd.issuer import audit, decision, glob, parity, refusal
from juniperd.issuer.callers import Callers, untold
from juniperd.issuer.claims import Stamp
from juniperd.issuer.ground import Ground
from juniperd.issuer.judge import OPENING, Judge
from juniperd.issuer.parity import Parity, Side
from juniperd.issuer.policy import Activation, Scope
from juniperd.issuer.subject import Subject
from juniperd.issuer.verdict import Refused


class Comparison:
    """Answers a verified person; nothing here is issued. Who may not know why hears an id, as everywhere."""

    def __init__(self, ground: Ground, *, judge: Judge, callers: Callers) -> None:
        self._issuer_url = ground.config.url
        self._state = ground.state
        self._clock = ground.clock
        self._new_id = ground.new_id
        self._judge = judge
        self._callers = callers

    async def answer(self, subject: Subject, query: Mapping[str, str]) -> dict[str, object]:
        """Both sides and each claim; ``job_environment`` and ``job_ref`` choose the job."""
        self._callers.check(subject)
        number, scope = self._new_id(), self._judge.policy.scope(query["scope"])
        if scope is None:
            await self._record(number, subject, query["scope"], None, untold="unknown_scope")
            await untold(self._judge, subject, number)
            return _id_alone(number)
        environment = query.get("environment") or _narrowed(scope.environment, query.get("job_environment"))
        ref = query.get("ref") or _narrowed(scope.ref, query.get("job_ref"))
        case = await self._judge.case(subject, scope, environment=environment, ref=ref, session=OPENING)
        verdict = self._judge.verdict(case, subject)
        refused = verdict if isinstance(verdict, Refused) else None
        if not decision.entitled(case):
            await self._record(number, subject, scope.name, None, untold=refused.reason if refused else "")
            await untold(self._judge, subject, number, refused)
            return _id_alone(number)
        if refused is not None and refused.passing:
            raise refusal.of(refused, decision=number, entitled=False)
        chosen = await self._judge.chosen(
            subject, case, environment=query.get("job_environment"), ref=query.get("job_ref")
        )
        version, release = await self._judge.release()
        denied = self._judge.denied(case)
        found = parity.compare(case, verdict, chosen, release, self._stamp(scope), denied=denied)
        await self._record(number, subject, scope.name, found)
        said = {"id": number, "scope": scope.name, "gitlab": version, "ref": chosen.ref}
        return said | {"environment": chosen.environment, **_shown(found)}

    def _stamp(self, scope: Scope) -> Stamp:
        session = parity.SOME if scope.activation is Activation.SESSION else None
        return Stamp(self._issuer_url, parity.SOME, self._clock(), self._judge.policy.digest, session)

    async def _record(
        self, number: str, subject: Subject, scope: str, found: Parity | None, *, untold: str = ""
    ) -> None:
        """Whoever hears an id and no more names it to an auditor, who finds the reason here; no decision, so no verdict."""
        fields = {
            "id": number,
            "identity": subject.identity.name,
            "subject": subject.key,
            "scope": one_line(scope, 64),
            "within": found.within if found else None,
            "job": found.job.reason or "holds" if found else None,
            "laptop": found.laptop.reason or "holds" if found else untold or None,
        }
        now = self._clock()
        await self._state.write(lambda c: audit.append(c, "parity", at=now, fields=fields))


def _id_alone(number: str) -> dict[str, object]:
    return {"id": number, "within": True, "laptop": {"holds": False}}


def _narrowed(pattern: str | None, of_job: str | None) -> str | None:
    """What the laptop selects where it has to and nothing was said: the same as the job has."""
    return of_job if pattern is not None and not glob.is_literal(pattern) else None


def _shown(found: Parity) -> dict[str, object]:
    return {
        "within": found.within,
        "verdict": parity.verdict_line(found),
        "job": {**_side(found.job), "source": found.source},
        "laptop": _side(found.laptop),
        "rows": [
            {"target": r.target, "claim": r.claim, "job": r.job, "laptop": r.laptop, "why": r.why, "right": r.right}
            for r in found.rows
        ],
    }


def _side(side: Side) -> dict[str, object]:
    return {"holds": side.holds, "text": side.text, "reason": side.reason}
