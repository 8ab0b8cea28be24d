"""What the agent asks GitLab for a person, for our own command line: the sign-in there, and the dry run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Protocol

from juniperd.advice import Advice
from juniperd.login import LoginEvent
from juniperd.protocols.control import ControlRequest
from juniperd.standing import SignInState

Event = Mapping[str, object]


class SignedIn(Protocol):
    """The person's sign-in at the issuer."""

    async def state(self) -> SignInState:
        """The state, without asking anybody outside."""


class Counter(Protocol):
    """One issuer of this laptop with its GitLab."""

    @property
    def advice(self) -> Advice:
        """Its GitLab, as the person sees it."""

    @property
    def sign_in(self) -> SignedIn:
        """The sign-in at the issuer."""


class AdviceVerbs:
    """The control requests. ``desk`` answers an issuer of that name, or the only one.

    ``waiting`` bounds who waits for a person, and ``shown`` tells a login's events.
    """

    def __init__(
        self,
        desk: Callable[[str | None], tuple[str, Counter]],
        waiting: Callable[[], contextlib.AbstractContextManager[None]],
        shown: Callable[[LoginEvent], Event],
    ) -> None:
        self._desk = desk
        self._waiting = waiting
        self._shown = shown
        self.verbs: Mapping[str, Callable[[ControlRequest], AsyncGenerator[Event, None]]] = {
            "gitlab_login": self._login,
            "ci_lint": self._lint,
        }

    async def _login(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        name, desk = self._desk(request.text("issuer"))
        state = await desk.sign_in.state()
        with self._waiting():
            events = desk.advice.login(user_id=state.user_id if state.login else None)
            async with contextlib.aclosing(events):
                async for event in events:
                    yield {"issuer": name, **self._shown(event)}

    async def _lint(self, request: ControlRequest) -> AsyncGenerator[Event, None]:
        name, desk = self._desk(request.text("issuer"))
        answer = await desk.advice.lint(request.need("project"), request.text("ref"))
        yield {"event": "result", "issuer": name, **answer}
