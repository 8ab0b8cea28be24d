"""``/sessions``: a person opens, extends, lists and closes debugging sessions.

Opening judges every scope as a mint would, so that a person hears at once what the session will reach; it permits
nothing, for the mint judges again. Whatever changes is written down in the transaction that changes it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from juniperd.errors import one_line
from juniperd.issuer import audit, decision, glob, links, pins, refusal, sessions
from juniperd.issuer import subject as subjects
from juniperd.issuer.ground import Ground
from juniperd.issuer.judge import OPENING, Judge
from juniperd.issuer.policy import Scope
from juniperd.issuer.session_request import OpenRequest
from juniperd.issuer.sessions import Session
from juniperd.issuer.subject import Subject
from juniperd.issuer.verdict import Case, Permitted, Refused, Verdict
from juniperd.model import Origin, rfc3339

Document = dict[str, object]
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class _Judged:
    """One scope that was asked for; without a case there is no such scope of the project."""

    name: str
    verdict: Verdict
    case: Case | None = None

    @property
    def refused(self) -> Refused | None:
        return self.verdict if isinstance(self.verdict, Refused) else None

    @property
    def told(self) -> bool:
        """Whether this person may hear why."""
        return self.case is not None and decision.entitled(self.case)


class SessionEndpoint:
    """Answers a verified person; ``changed`` is called whenever a session's end was set, ``ended`` when one has ended."""

    def __init__(self, ground: Ground, *, judge: Judge, changed: Callable[[], None], ended: Callable[[], None]) -> None:
        self._state = ground.state
        self._clock = ground.clock
        self._new_id = ground.new_id
        self._judge = judge
        self._changed = changed
        self._ended = ended

    async def open(self, subject: Subject, asked: OpenRequest) -> Document:
        """Open one for every scope asked for that this person may hold; without names, all of the environment."""
        await self._check(subject)
        judged = await self._judged(subject, asked)
        late = next((j.refused for j in judged if j.refused is not None and j.refused.passing), None)
        if late is not None:
            # A session with holes would be used as if it were whole.
            await self._refuse(subject, late, entitled=False)
        told = any(j.told for j in judged) or (not any(j.case for j in judged) and await self._belongs(subject))
        number, now = self._new_id(), self._clock()
        done = await self._state.write(lambda c: self._opened(c, subject, asked, judged, number, now, told=told))
        if isinstance(done, Refused):
            raise refusal.of(done, decision=number, entitled=told)
        self._changed()
        return {**_shown(done[0]), "here": True, "refused": [_left_out(j) for j in done[1] if j.told]}

    async def extend(self, subject: Subject, number: str, seconds: float) -> Document:
        """Move the end, as far as the sign-in and the longest session allow."""
        await self._check(subject)
        now = self._clock()

        def work(connection: sqlite3.Connection) -> Session | Refused:
            found = sessions.usable(connection, number, subject, now)
            if isinstance(found, Refused):
                return found
            ends_at = min(found.ends_at + seconds, self._latest(subject, found.opened_at))
            if ends_at <= found.ends_at:
                text = "the session cannot last longer than the sign-in or 12 h; run: juniper login, then open another"
                return Refused("session", "session_longest", text)
            sessions.extend(connection, found, ends_at)
            fields = {"session": number, **_who(subject), "ends_at": rfc3339(ends_at)}
            audit.append(connection, "session_extended", at=now, fields=fields)
            return sessions.find(connection, number, subject)

        document = _shown(await self._found(subject, await self._state.write(work)))
        self._changed()
        return document

    async def close(self, subject: Subject, number: str) -> None:
        """End one of this person's, from whichever laptop; one that has ended stays ended."""
        await self._check(subject)
        now = self._clock()

        def work(connection: sqlite3.Connection) -> Session | Refused:
            found = sessions.find(connection, number, subject)
            if isinstance(found, Session) and found.ended_at is None:
                sessions.end(connection, found, "closed", now)
            return found

        await self._found(subject, await self._state.write(work))
        self._ended()

    async def listing(self, subject: Subject) -> Document:
        """This person's open sessions; ``here`` are those of the key that asks."""
        await self._check(subject)
        found = self._state.read(lambda c: sessions.open_of(c, subject, self._clock()))
        return {"sessions": [{**_shown(s), "here": s.thumbprint == subject.thumbprint} for s in found]}

    # --- opening ------------------------------------------------------------------------------------------------------

    async def _judged(self, subject: Subject, asked: OpenRequest) -> list[_Judged]:
        """Every scope that was asked for, judged as a mint within the session would be."""
        policy, gate = self._judge.policy, asyncio.Semaphore(_AT_ONCE)
        mine = [s for s in policy.scopes.values() if s.project == asked.project and Origin.LAPTOP in s.origins]
        known = {scope.name: scope for scope in mine}

        async def judged(name: str) -> _Judged:
            if name not in known:
                text = f"there is no scope {name} of {asked.project} for laptops; mend its name"
                return _Judged(name, Refused("select", "unknown_scope", text))
            async with gate:
                return await self._judge_one(subject, known[name], asked)

        covering = [s.name for s in mine if s.environment and glob.matches(s.environment, asked.environment)]
        return await asyncio.gather(*(judged(name) for name in (asked.scopes or covering)))

    async def _belongs(self, subject: Subject) -> bool:
        """Whether this person may hear that a name is none."""
        belongs = await self._judge.belongs(subject)
        if isinstance(belongs, Refused):
            await self._refuse(subject, belongs, entitled=False)
        return belongs

    async def _judge_one(self, subject: Subject, scope: Scope, asked: OpenRequest) -> _Judged:
        case = await self._judge.case(subject, scope, environment=asked.environment, ref=asked.ref, session=OPENING)
        return _Judged(scope.name, self._judge.verdict(case, subject), case)

    def _opened(
        self,
        connection: sqlite3.Connection,
        subject: Subject,
        asked: OpenRequest,
        judged: Sequence[_Judged],
        number: str,
        now: float,
        *,
        told: bool,
    ) -> tuple[Session, list[_Judged]] | Refused:
        """The session with what was left out, or why there is none; pin, policy, denials and links looked at again."""
        seen = [self._looked_again(connection, subject, j) for j in judged]
        permitted = [j for j in seen if isinstance(j.verdict, Permitted)]
        left_out = [j for j in seen if j.refused is not None]
        refused = _nothing(asked, left_out) if not permitted else None
        if refused is None and len(sessions.open_of(connection, subject, now)) >= sessions.MOST_OPEN:
            text = f"you have {sessions.MOST_OPEN} sessions open; close one: juniper session list"
            refused = Refused("session", "session_many", text)
        fields = {"session": number, **_who(subject), **_asked(asked, left_out), **_facts(judged, now)}
        if refused is not None:
            audit.append(
                connection,
                "session_refused",
                at=now,
                fields={**fields, **_why(refused, entitled=told)},
            )
            return refused
        session = self._session(subject, asked, permitted, number, now)
        sessions.add(connection, session, now=now)
        said = {"project_id": session.project_id, "user_id": session.user_id, "scopes": list(session.scopes)}
        opened = {**fields, **said, "ends_at": rfc3339(session.ends_at), "policy": self._judge.policy.digest}
        audit.append(connection, "session_opened", at=now, fields=opened)
        return session, left_out

    def _looked_again(self, connection: sqlite3.Connection, subject: Subject, judged: _Judged) -> _Judged:
        if judged.case is None:
            return judged
        verdict = self._judge.last_look(connection, subject, judged.case, judged.verdict)
        return _Judged(judged.name, verdict, judged.case)

    def _session(
        self, subject: Subject, asked: OpenRequest, permitted: Sequence[_Judged], number: str, now: float
    ) -> Session:
        grants = [j.verdict.grant for j in permitted if isinstance(j.verdict, Permitted)]
        return Session(
            id=number,
            identity=subject.identity.name,
            subject=subject.key,
            thumbprint=subject.thumbprint,
            user_id=grants[0].user.id,
            project_id=grants[0].project.id,
            project=asked.project,
            environment=asked.environment,
            ref=asked.ref,
            scopes=tuple(j.name for j in permitted),
            opened_at=now,
            ends_at=min(now + asked.seconds, self._latest(subject, now)),
        )

    @staticmethod
    def _latest(subject: Subject, opened_at: float) -> float:
        return min(opened_at + sessions.LONGEST, (subject.auth_time or 0.0) + subject.identity.sign_in_max_age)

    # --- shared -------------------------------------------------------------------------------------------------------

    async def _check(self, subject: Subject) -> None:
        own = subjects.stale(subject, now=self._clock())
        own = own or self._state.read(lambda c: pins.missing(c, subject) or links.missing(c, subject))
        if own is not None:
            await self._refuse(subject, own, entitled=True)

    async def _found(self, subject: Subject, found: Session | Refused) -> Session:
        if isinstance(found, Refused):
            await self._refuse(subject, found, entitled=True)
        return found

    async def _refuse(self, subject: Subject, refused: Refused, *, entitled: bool) -> NoReturn:
        """No, with an id that an auditor finds in the trail."""
        number, now = self._new_id(), self._clock()
        fields = {"id": number, **_who(subject), **_why(refused, entitled=entitled)}
        await self._state.write(lambda c: audit.append(c, "session_refused", at=now, fields=fields))
        raise refusal.of(refused, decision=number, entitled=entitled)


def _nothing(asked: OpenRequest, left_out: Sequence[_Judged]) -> Refused:
    """Why not one scope is left: the first reason that somebody may be told, else that there is nothing."""
    first = next((j.refused for j in left_out if j.told), None) or next((j.refused for j in left_out), None)
    if first is not None:
        return first
    text = f"no scope of {asked.project} is for laptops and '{asked.environment}'; run: juniper scopes"
    return Refused("select", "unknown_scope", text)


def _shown(session: Session) -> Document:
    return {
        "id": session.id,
        "project": session.project,
        "project_id": session.project_id,
        "environment": session.environment,
        "ref": session.ref,
        "scopes": list(session.scopes),
        "opened_at": int(session.opened_at),
        "ends_at": int(session.ends_at),
    }


def _left_out(judged: _Judged) -> Document:
    refused = judged.refused
    return {
        "scope": judged.name,
        "reason": refused.reason if refused else None,
        "text": refused.text if refused else "",
    }


def _who(subject: Subject) -> Document:
    return {"identity": subject.identity.name, "subject": subject.key, "key": subject.thumbprint}


def _why(refused: Refused, *, entitled: bool) -> Document:
    """The reason, and whether the person heard it."""
    told = refusal.tells(refused, entitled=entitled)
    return {"rule": refused.rule, "reason": refused.reason, "told": told}


def _asked(asked: OpenRequest, left_out: Sequence[_Judged]) -> Document:
    refused = [{"scope": j.name, "rule": j.refused.rule, "reason": j.refused.reason} for j in left_out if j.refused]
    return {
        "project": one_line(asked.project, 255),
        "environment": one_line(asked.environment, 255),
        "ref": asked.ref,
        "asked": list(asked.scopes),
        "refused": refused,
        "claimed_reason": audit.hearsay(asked.claimed_reason),
        "claimed_host": audit.hearsay(asked.claimed_host),
    }


def _facts(judged: Sequence[_Judged], now: float) -> Mapping[str, object]:
    """What GitLab was asked for all of them, each question once."""
    used = {str(fact["asked"]): fact for j in judged if j.case is not None for fact in j.case.facts.used(now)}
    return {"facts": list(used.values())}
