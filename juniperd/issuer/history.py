"""``GET /log``: what the trail says of the person who asks, and no word more than they were told when it happened.

Facts, rules and policy stay in the trail. A reason is shown where its record says that the person heard it; one that
they may see today they hear from ``/explain``.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from itertools import islice

from juniperd.errors import one_line
from juniperd.issuer import audit, denials, refusal
from juniperd.issuer.callers import Callers
from juniperd.issuer.ground import Ground
from juniperd.issuer.refusal import OAuthError
from juniperd.issuer.subject import Subject

MOST = 200
"""Events of one answer."""
LONGEST = 31 * 86_400
"""Seconds that an answer goes back at most."""
_MOST_READ = 2_000
"""Records looked at for one answer: the person's questions and sign-ins stand between."""
_SECONDS = re.compile(r"[1-9][0-9]{0,6}", re.ASCII)
_OWN_CAUSES = frozenset({"closed", "time", "signed_out"})
"""Ends of a session that its person brought about or was told beforehand; the others are an administrator's deeds."""
_SHOWN = {
    "decision": ("id", "verdict", "scope", "session"),
    "session_opened": ("session", "project", "environment", "scopes", "ends_at"),
    "session_extended": ("session", "ends_at"),
    "session_ended": ("session", "ended_at"),
    "session_refused": ("id", "session", "project", "environment"),
}
"""By event, what is shown of it: what the person said themselves, or was answered."""

Record = Mapping[str, object]


def seconds(given: str | None) -> int:
    """How far back is asked for, in seconds; :class:`OAuthError` for anything but a whole number within the bounds."""
    if given is None:
        raise OAuthError("invalid_request", "seconds is missing")
    if not _SECONDS.fullmatch(given) or int(given) > LONGEST:
        raise OAuthError("invalid_request", f"seconds must be a whole number from 1 to {LONGEST}")
    return int(given)


class History:
    """Answers a verified person with their own events; whoever is refused elsewhere is refused here."""

    def __init__(self, ground: Ground, *, callers: Callers) -> None:
        self._state = ground.state
        self._clock = ground.clock
        self._new_id = ground.new_id
        self._callers = callers

    async def listing(self, subject: Subject, back: int) -> dict[str, object]:
        """The last :data:`MOST` events of ``back`` seconds, oldest first; ``more`` says that there were others."""
        self._callers.check(subject)
        user = await self._callers.user(subject)
        denied = self._state.read(lambda c: denials.match(c, user_id=user.id, scope=""))
        if denied is not None:
            raise refusal.of(denied, decision=self._new_id(), entitled=False)
        found = self._events(subject, self._clock() - back)
        return {"version": 1, "events": found[:MOST][::-1], "more": len(found) > MOST}

    def _events(self, subject: Subject, since: float) -> list[Record]:
        """Newest first, one more than is shown; the identity and the subject are compared here once more."""

        def found(connection: sqlite3.Connection) -> list[Record]:
            # Read as far as there is need: each record is half a kilobyte to parse, and all of it on the loop.
            records = audit.of_person(connection, *subject.name, most=_MOST_READ)
            mine = (r for r in records if (r.get("identity"), r.get("subject")) == subject.name)
            events = (r for r in mine if r.get("event") in _SHOWN and _moment(r) >= since)
            return [_shown(record) for record in islice(events, MOST + 1)]

        return self._state.read(found)


def _moment(record: Record) -> float:
    return datetime.fromisoformat(str(record["time"])).timestamp()


def _shown(record: Record) -> Record:
    event = str(record["event"])
    said = {"time": record["time"], "event": event}
    said |= {name: _plain(record[name]) for name in _SHOWN[event] if record.get(name) is not None}
    told = record.get("told") is True
    if told and record.get("reason") is not None:
        said["reason"] = record["reason"]
    if event == "decision" and (told or record.get("verdict") == "permitted"):
        said["relying_party"] = record.get("relying_party")
    if event == "session_ended" and record.get("cause") in _OWN_CAUSES:
        said["cause"] = record["cause"]
    return said


def _plain(value: object) -> object:
    """What a caller wrote, cut to a line: it was kept as it came."""
    return [one_line(str(v), 200) for v in value] if isinstance(value, list) else one_line(str(value), 200)
