"""``/sign-ins``: a login ends by showing its first ID token, and a logout by freeing its key."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from juniperd.errors import StateError
from juniperd.issuer import audit, links, orders, pins, refusal, sessions
from juniperd.issuer import subject as subjects
from juniperd.issuer.facts import Trouble, User
from juniperd.issuer.ground import Ground
from juniperd.issuer.inquiry import Inquiry
from juniperd.issuer.laptop import record_link
from juniperd.issuer.refusal import OAuthError
from juniperd.issuer.subject import Subject
from juniperd.issuer.verdict import Refused
from juniperd.jose import LEEWAY

T = TypeVar("T")


class SignIns:
    """Writes and undoes pins; tells the person who they are at GitLab. ``ended`` is called after a logout."""

    def __init__(self, ground: Ground, *, inquiry: Inquiry, ended: Callable[[], None]) -> None:
        self._issuer_url = ground.config.url
        self._longest = ground.config.longest_sign_in
        self._state = ground.state
        self._clock = ground.clock
        self._new_id = ground.new_id
        self._inquiry = inquiry
        self._ended = ended

    async def begin(self, subject: Subject) -> dict[str, object]:
        """Pin the key, then find the person at GitLab; the pin comes first, for the first key is the one that counts."""
        now, number = self._clock(), self._new_id()
        stale = subjects.stale(subject, now=now)
        if stale is not None or subject.auth_time is None:
            raise refusal.of(
                stale or Refused("0", "auth_time_missing", "sign in again"), decision=number, entitled=True
            )
        refused = await self._write(lambda c: self._pin(c, subject, number, now))
        if refused is not None:
            raise refusal.of(refused, decision=number, entitled=True)
        user = await self._user(subject, number)
        return {
            "identity": subject.identity.name,
            "subject": subject.key,
            "user": {"id": user.id, "login": user.login},
            "sign_in_ends": int(subject.auth_time + subject.identity.sign_in_max_age),
        }

    async def end(self, subject: Subject) -> None:
        """Free the pins of this key, end its sessions and what it holds: only a logout signed by it gets here."""
        now = self._clock()

        def work(connection: sqlite3.Connection) -> None:
            freed = pins.free(connection, subject, now=now)
            audit.append(connection, "sign_out", at=now, fields={**_who(subject), "freed": freed})
            sessions.end_of_key(connection, subject, now)
            orders.end_of_key(connection, subject)

        await self._write(work)
        self._ended()

    def _pin(self, connection: sqlite3.Connection, subject: Subject, number: str, now: float) -> Refused | None:
        oldest = now - self._longest - 2 * LEEWAY
        refused = pins.pin(connection, subject, issuer_url=self._issuer_url, oldest=oldest, now=now)
        outcome = {"outcome": refused.reason if refused else "pinned", "id": number}
        audit.append(connection, "sign_in", at=now, fields={**_who(subject), **outcome})
        return refused

    async def _user(self, subject: Subject, number: str) -> User:
        fact = await self._inquiry.person(subject.who)
        if fact.value is None:
            raise refusal.of(_of_trouble(fact.trouble), decision=number, entitled=True)
        user = fact.value
        if not user.active:
            refused = Refused("2", "user_inactive", "your GitLab account is no active person's; ask an administrator")
            raise refusal.of(refused, decision=number, entitled=True)
        taken = await self._write(lambda c: self._link(c, subject, user))
        if taken is not None:
            raise refusal.of(taken, decision=number, entitled=True)
        return user

    def _link(self, connection: sqlite3.Connection, subject: Subject, user: User) -> Refused | None:
        name, now = subject.identity.name, self._clock()
        taken = links.missing(connection, subject)
        taken = taken or links.conflict(connection, identity=name, key=subject.key, user_id=user.id)
        if taken is None and links.make(connection, identity=name, key=subject.key, user=user, now=now):
            record_link(connection, subject, user.id, now)
        return taken

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._state.write(work)
        except StateError as error:
            raise OAuthError("server_error", error.message, status=503, retry_after=refusal.RETRY_AFTER) from error


def _who(subject: Subject) -> dict[str, object]:
    return {
        "identity": subject.identity.name,
        "subject": subject.key,
        "client_id": subject.client_id,
        "flow": subject.sign_in.flow,
        "key": subject.thumbprint,
        "auth_time": subject.auth_time,
        "sid": subject.sid or None,
    }


def _of_trouble(trouble: Trouble | None) -> Refused:
    if trouble is None:
        return Refused("1", "gitlab_doubtful", "GitLab's answer was not understood; try again")
    if trouble.reason == "not_linked":
        text = "no GitLab user carries this sign-in; ask a GitLab administrator to link your account"
        return Refused("1", "not_linked", text)
    return Refused("1", trouble.reason, f"{trouble.text}; {trouble.cure or 'try again'}", trouble.passing)
