"""``POST /revoke`` (RFC 7009): whoever has a deploy token and the key that it was made for has it ended.

No ID token is asked for, so that a laptop gives back what it holds also when its sign-in is over. A token that is
unknown, or known by another key, changes nothing and is told from the rest by nobody.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from juniperd.errors import TokenRejected, one_line
from juniperd.issuer import audit, orders, proofs
from juniperd.issuer.ground import Ground
from juniperd.issuer.proofs import Proofs
from juniperd.issuer.refusal import OAuthError
from juniperd.jose import MAX_TOKEN
from juniperd.model import Secret

PATH = "/revoke"
_PARAMETERS = ("token", "token_type_hint")


def parse(form: Sequence[tuple[str, str]]) -> Secret:
    """The token, or ``invalid_request`` naming the parameter that is wrong; a hint is not needed to find it."""
    given: dict[str, str] = {}
    for name, value in form:
        if name not in _PARAMETERS:
            raise OAuthError("invalid_request", f"unknown parameter '{one_line(name, 40)}'")
        if name in given:
            raise OAuthError("invalid_request", f"parameter '{name}' stands twice")
        if len(value) > MAX_TOKEN:
            raise OAuthError("invalid_request", f"parameter '{name}' is longer than {MAX_TOKEN} characters")
        given[name] = value
    if not given.get("token"):
        raise OAuthError("invalid_request", "token is missing")
    return Secret(given["token"])


class Revocation:
    """Ends deploy tokens for their holders; ``ended`` is called whenever one is to end."""

    def __init__(self, ground: Ground, *, proofs: Proofs, ended: Callable[[], None]) -> None:
        self._state = ground.state
        self._clock = ground.clock
        self._proofs = proofs
        self._ended = ended

    async def revoke(self, token: Secret, dpop: list[str]) -> bool:
        """End the token, unless it has ended; False where this key was given no such token."""
        try:
            proof = self._proofs.check(dpop, method="POST", path=PATH)
            entry = self._state.read(lambda c: orders.held(c, token, proof.thumbprint))
            if entry is None:
                return False
            used = self._proofs.use(proof)
        except TokenRejected as error:
            raise OAuthError("invalid_dpop_proof", str(error)) from None
        now = self._clock()

        def work(connection: sqlite3.Connection) -> None:
            proofs.remember(connection, used)
            if now < entry.ends_at and orders.end(connection, entry.id, "revoked"):
                audit.append(connection, "revoked", at=now, fields=orders.said(entry))

        await self._state.write(work)
        self._ended()
        return True
