"""A laptop's request: the sign-in and its pin, the debugging session it may name, then the scope."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace

from juniperd.issuer import audit, decision, links, pins, sessions
from juniperd.issuer import subject as subjects
from juniperd.issuer.hearing import Decided, aimed
from juniperd.issuer.judge import Judge
from juniperd.issuer.policy import AwsTarget, GoogleTarget, Scope, Target
from juniperd.issuer.sessions import Session
from juniperd.issuer.state import State
from juniperd.issuer.subject import Subject
from juniperd.issuer.token_request import TokenRequest
from juniperd.issuer.verdict import Case, Grant, Permitted, Refused, Verdict
from juniperd.model import Clock, Origin


@dataclass(frozen=True, slots=True)
class LaptopHearing:
    """A person's request (:class:`juniperd.issuer.hearing.Hearing`)."""

    subject: Subject
    request: TokenRequest
    judge: Judge
    state: State
    clock: Clock

    @property
    def caller(self) -> tuple[str, str]:
        """The person's identity and stable id."""
        return self.subject.name

    @property
    def thumbprint(self) -> str:
        """Their agent's key."""
        return self.subject.thumbprint

    async def decide(self) -> Decided:
        """The verdict on the facts as they are now."""
        own = subjects.stale(self.subject, now=self.clock())
        own = own or self.state.read(lambda c: pins.missing(c, self.subject) or links.missing(c, self.subject))
        if own is not None:
            return Decided(own)
        scope = self.judge.policy.scope(self.request.scope)
        session = self._session(scope)
        if isinstance(session, Refused):
            return Decided(session)
        if scope is None:
            return await self._unknown()
        return await self._judged(scope, session)

    def last_look(self, connection: sqlite3.Connection, decided: Decided) -> Verdict:
        """Pin, policy, denials, links and session once more."""
        if not isinstance(decided.case, Case):
            return decided.verdict
        return self.judge.last_look(connection, self.subject, decided.case, decided.verdict)

    def remember(self, connection: sqlite3.Connection, grant: Grant, now: float) -> None:
        """Keep the link to the GitLab user."""
        if links.make(connection, identity=self.subject.identity.name, key=self.subject.key, user=grant.user, now=now):
            record_link(connection, self.subject, grant.user.id, now)

    def said(self, decided: Decided) -> Mapping[str, object]:
        """Who asks, for the record."""
        user = decided.case.facts.user.value if decided.case else None
        return {
            "origin": Origin.LAPTOP.value,
            "identity": self.subject.identity.name,
            "subject": self.subject.key,
            "client_id": self.subject.client_id,
            "key": self.subject.thumbprint,
            "user_id": user.id if user else None,
            "user_login": user.login if user else None,
        }

    async def _judged(self, scope: Scope, session: Session | None) -> Decided:
        """The verdict on a scope; a session has selected already, and is one more thing to be true."""
        asked = (self.request.environment, self.request.ref)
        selected = asked if session is None else (session.environment, session.ref)
        number = session.id if session else None
        case = await self.judge.case(self.subject, scope, environment=selected[0], ref=selected[1], session=number)
        verdict = self.judge.verdict(case, self.subject)
        if isinstance(verdict, Refused) and verdict.passing and not decision.entitled(case):
            return Decided(await self._as_of_none(verdict), case, scope.target(self.request.audience))
        verdict, target = aimed(self.request, scope, verdict)
        if isinstance(verdict, Permitted) and target is not None:
            verdict = self._ending(session, target) or verdict
        return Decided(verdict, case, target, session=number, session_ends=session.ends_at if session else None)

    def _ending(self, session: Session | None, target: Target) -> Refused | None:
        """Why nothing is made any more that would end with the session; what is traded at a cloud does not."""
        if session is None or isinstance(target, AwsTarget | GoogleTarget):
            return None
        return sessions.ending(session, self.clock())

    def _session(self, scope: Scope | None) -> Session | Refused | None:
        """The session that the request names, before the scope is looked at: its owner alone hears of it."""
        request = self.request
        if request.session is None:
            return None
        found = self.state.read(lambda c: sessions.usable(c, request.session, self.subject, self.clock()))
        if isinstance(found, Refused):
            return found
        for name, wanted, mine in (
            ("environment", request.environment, found.environment),
            ("ref", request.ref, found.ref),
        ):
            if wanted not in {None, mine}:
                return Refused("session", "session_narrow", f"the session is for another {name}; {found.again}")
        return sessions.covers(found, request.scope, scope) or found

    async def _as_of_none(self, late: Refused) -> Refused:
        """What an outsider hears where GitLab was late about a scope: the same as of a name that no scope has."""
        belongs = await self.judge.belongs(self.subject)
        if isinstance(belongs, Refused):
            return belongs
        return late if belongs else replace(late, passing=False)

    async def _unknown(self) -> Decided:
        """A name that no scope has: an outsider hears what they hear of one that exists."""
        belongs = await self.judge.belongs(self.subject)
        if isinstance(belongs, Refused):
            return Decided(belongs)
        text = "there is no such scope; mend its name, or run: juniper setup aws|gcloud|kubectl --diff"
        return Decided(Refused("select", "unknown_scope", text), belongs=belongs)


def record_link(connection: sqlite3.Connection, subject: Subject, user_id: int, now: float) -> None:
    """The event of a new link."""
    fields = {"identity": subject.identity.name, "subject": subject.key, "user_id": user_id, "basis": links.EXTERN_UID}
    audit.append(connection, "link", at=now, fields=fields)
