"""What an administrator may do to an issuer, running or not: deny, unlink, free keys, rotate, reload.

Each act is one record in the trail, in the same transaction as the change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from juniperd.errors import ConfigError
from juniperd.issuer import audit, cuts, denials, links, orders, pins, sessions
from juniperd.issuer.denials import Denial
from juniperd.issuer.keys import Entry, Keys
from juniperd.issuer.policy import Policy
from juniperd.issuer.state import State
from juniperd.model import Clock, rfc3339

T = TypeVar("T")
Document = dict[str, object]


class Desk:
    """The acts, by name; :meth:`act` is what socket and command line both call.

    ``ended`` is called whenever an act may have ended something that the minter made.
    """

    def __init__(
        self,
        *,
        state: State,
        keys: Callable[[], Keys],
        policy: Callable[[], Policy],
        reload: Callable[[], Policy],
        clock: Clock,
        ended: Callable[[], None],
    ) -> None:
        self._state = state
        self._keys = keys
        self._policy = policy
        self._reload = reload
        self._clock = clock
        self._ended = ended

    async def act(self, verb: str, params: Mapping[str, object]) -> Document:
        """Do one act and say what came of it."""
        acts: dict[str, Callable[[Mapping[str, object]], Awaitable[Document]]] = {
            "deny": self._deny,
            "undeny": self._undeny,
            "denials": self._denials,
            "link_list": self._link_list,
            "link_remove": self._link_remove,
            "pins_free": self._pins_free,
            "keys_list": self._keys_list,
            "keys_rotate": self._keys_rotate,
            "keys_replace": self._keys_replace,
            "reload": self._reload_policy,
        }
        if verb not in acts:
            msg = f"the issuer knows no '{verb}'"
            raise ConfigError(msg, "upgrade juniperd here and where the issuer runs")
        return await acts[verb](params)

    async def _record(self, event: str, fields: Mapping[str, object], work: Callable[[sqlite3.Connection], T]) -> T:
        now = self._clock()

        def both(connection: sqlite3.Connection) -> T:
            result = work(connection)
            audit.append(connection, event, at=now, fields={**fields, "changed": result})
            return result

        done = await self._state.write(both)
        self._ended()
        return done

    async def _deny(self, params: Mapping[str, object]) -> Document:
        kind, value = _denial(params)
        if kind == "scope" and not self._is_scope(value):
            msg = f"there is no scope '{value}'"
            raise ConfigError(msg, "run: juniper policy check")
        denial = Denial(kind, value, self._clock())

        def work(connection: sqlite3.Connection) -> None:
            denials.add(connection, denial)
            if kind == "user":
                sessions.end_of_user(connection, int(value), "denied", denial.denied_at)
                orders.end_of_user(connection, int(value), "denied")
            elif kind == "scope":
                orders.end_of_scope(connection, value, "denied")
            else:
                orders.end_all(connection, "denied")

        await self._record("denial", {"kind": kind, "value": value}, work)
        return {"denied": kind, "value": value, "cuts": self._cuts(kind, value)}

    def _is_scope(self, name: str) -> bool:
        """Whether there is such a scope, or was one whose deploy tokens are out: taking it out of the policy ended none."""
        return self._policy().scope(name) is not None or self._state.read(lambda c: orders.has_scope(c, name))

    def _cuts(self, kind: str, value: str) -> list[str]:
        """What ends the credentials that are out already, relying party by relying party."""
        login = self._state.read(lambda c: [k.login for k in links.all_links(c) if str(k.user_id) == value])
        who = f"{value}-{login[0]}" if kind == "user" and login else (f"{value}-*" if kind == "user" else None)
        scopes = [s for s in self._policy().scopes.values() if kind != "scope" or s.name == value]
        return cuts.advice(scopes, who=who, now=self._clock())

    async def _undeny(self, params: Mapping[str, object]) -> Document:
        kind, value = _denial(params)
        undone = await self._record(
            "denial_ended", {"kind": kind, "value": value}, lambda c: denials.remove(c, kind=kind, value=value)
        )
        return {"undone": undone}

    async def _denials(self, _: Mapping[str, object]) -> Document:
        found = self._state.read(denials.everything)
        return {"denials": [{"kind": d.kind, "value": d.value, "since": rfc3339(d.denied_at)} for d in found]}

    async def _link_list(self, _: Mapping[str, object]) -> Document:
        return {
            "links": [
                {
                    "identity": link.identity,
                    "subject": link.subject,
                    "user_id": link.user_id,
                    "login": link.login,
                    "basis": link.basis,
                    "since": rfc3339(link.linked_at),
                }
                for link in self._state.read(links.all_links)
            ]
        }

    async def _link_remove(self, params: Mapping[str, object]) -> Document:
        user_id, now = _user_id(params), self._clock()

        def work(connection: sqlite3.Connection) -> int:
            sessions.end_of_user(connection, user_id, "unlinked", now)
            orders.end_of_user(connection, user_id, "unlinked")
            return links.remove(connection, user_id)

        return {"removed": await self._record("link_removed", {"user_id": user_id}, work)}

    async def _pins_free(self, params: Mapping[str, object]) -> Document:
        user_id, now = _user_id(params), self._clock()

        def work(connection: sqlite3.Connection) -> int:
            sessions.end_of_user(connection, user_id, "freed", now)
            orders.end_of_user(connection, user_id, "freed")
            mine = [k for k in links.all_links(connection) if k.user_id == user_id]
            return sum(pins.free_all(connection, identity=k.identity, key=k.subject, now=now) for k in mine)

        return {"freed": await self._record("pins_freed", {"user_id": user_id}, work)}

    async def _keys_list(self, _: Mapping[str, object]) -> Document:
        now = self._clock()
        signing = self._keys().signer(now).kid
        return {"keys": [_key(e, signing) for e in self._keys().entries(now)]}

    async def _keys_rotate(self, _: Mapping[str, object]) -> Document:
        made = self._keys().rotate(self._clock())
        fields = {"kid": made.kid, "signs_from": rfc3339(made.signs_from)}
        await self._record("key_made", fields, lambda _: True)
        return dict(fields)

    async def _keys_replace(self, _: Mapping[str, object]) -> Document:
        now = self._clock()
        dropped = [entry.kid for entry in self._keys().entries(now)]
        made = self._keys().replace(now)
        await self._record("keys_replaced", {"kid": made.kid, "dropped": dropped}, lambda _: True)
        policy = self._policy()
        steps = cuts.distrust(policy.relying_parties.values(), policy.scopes.values(), now=now)
        return {"kid": made.kid, "dropped": dropped, "steps": steps}

    async def _reload_policy(self, _: Mapping[str, object]) -> Document:
        policy = self._reload()
        await self._record("policy", {"policy": policy.digest}, lambda _: True)
        return {"policy": policy.digest, "scopes": len(policy.scopes)}


def _key(entry: Entry, signing: str) -> Document:
    return {
        "kid": entry.kid,
        "signs_from": rfc3339(entry.signs_from),
        "ends_at": None if entry.ends_at is None else rfc3339(entry.ends_at),
        "signing": entry.kid == signing,
    }


def _denial(params: Mapping[str, object]) -> tuple[str, str]:
    kind, value = str(params.get("kind")), str(params.get("value") or "")
    if kind not in denials.KINDS or (kind == "all") == bool(value) or (kind == "user" and not value.isdigit()):
        msg = "a denial is of one user id, one scope, or all"
        raise ConfigError(msg, "run: juniper issuer deny --user ID, --scope NAME or --all")
    return kind, value


def _user_id(params: Mapping[str, object]) -> int:
    value = params.get("user_id")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        msg = "a GitLab user id is needed"
        raise ConfigError(msg, "run: juniper issuer link list")
    return value
