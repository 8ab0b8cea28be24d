"""A job's standing at the issuer, in the place of a person's sign-in: one ID token, as long as the job may run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

from juniperd import unverified
from juniperd.errors import LoginDeclined, LoginExpired
from juniperd.identity import SubjectToken
from juniperd.jose import SigningKey
from juniperd.login import LoginEvent
from juniperd.model import Clock, Secret
from juniperd.standing import SignInState

_SHOWN = ("job_id", "user_login", "user_id")
_MARGIN = 30.0
"""Seconds before its end in which the token is shown no more: it would end on its way."""


class JobSignIn:
    """The token that GitLab gave the job, with the key of the job's agent; there is none to renew it by."""

    def __init__(self, token: Secret, key: SigningKey, *, clock: Clock, changed: Callable[[], None]) -> None:
        claims = unverified.read(token.reveal())
        self._subject: SubjectToken | None = SubjectToken(token, key)
        self._identity = key.kid
        self._clock = clock
        self._changed = changed
        self._ends_at = (unverified.moment(claims, "exp") if claims is not None else None) or 0.0
        said = {name: unverified.text(claims, name) if claims is not None else None for name in _SHOWN}
        self._state = SignInState(
            "signed-in", f"job {said['job_id']}", said["user_login"], said["user_id"], said["user_login"]
        )

    @property
    def identity(self) -> str | None:
        """The thumbprint of the key; ``None`` once the token is forgotten."""
        return self._identity if self._subject is not None else None

    async def wake(self) -> str:
        """The same, else :class:`LoginExpired`."""
        self._counting()
        return self._identity

    async def subject(self, *, fresh: bool = False) -> SubjectToken:
        """The token to show; a fresher one does not exist."""
        del fresh
        return self._counting()

    @property
    def locked(self) -> bool:
        """Never: nobody sits there."""
        return False

    def at_hand(self) -> SubjectToken | None:
        """The token, while it counts."""
        return self._subject if self._clock() < self._ends_at - _MARGIN else None

    async def state(self) -> SignInState:
        """What ``status`` shows in the job."""
        if self.at_hand() is None:
            return SignInState("ended", reason="the job's ID token has ended")
        return replace(self._state, ends_at=self._ends_at, ends_by="GitLab, with the job")

    def login(
        self, *, identity: str | None = None, flow: str | None = None, auto: str | None = None, again: bool = False
    ) -> AsyncGenerator[LoginEvent, None]:
        """Refused: in a job nobody signs in."""
        del identity, flow, auto, again
        msg = "in a job nobody signs in"
        raise LoginDeclined(msg, "use what the job holds, or sign in on your own machine")

    async def logout(self) -> tuple[str, ...]:
        """Forget the token."""
        self._subject = None
        self._changed()
        return ()

    async def lock(self) -> bool:
        """The same: what is locked in a job nobody will unlock."""
        await self.logout()
        return False

    async def unlock(self) -> None:
        """Nothing to be had again; :class:`LoginExpired` where it was forgotten."""
        self._counting()

    def abandon_login(self) -> None:
        """There is none."""

    @property
    def occupied(self) -> bool:
        """Never: nothing is renewed."""
        return False

    async def close(self) -> None:
        """Nothing is under way."""

    def _counting(self) -> SubjectToken:
        found = self.at_hand()
        if found is None:
            msg = "the job's ID token has ended"
            raise LoginExpired(msg, "run the job again, or give it a longer timeout")
        return found
