"""A device flow driven over real HTTP on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from juniperd.errors import UpstreamAnswer
from juniperd.http import Http
from juniperd.identity.device import Answered, Ask, DeviceClient, Show, Wait, device_flow


@dataclass(slots=True)
class Turns:
    """A flow driven over real HTTP; what it would have waited for is written down, and the person acts meanwhile."""

    http: Http
    waits: list[float] = field(default_factory=list)
    shown: Show | None = None

    async def run(self, client: DeviceClient, during: Mapping[int, Callable[[str], Awaitable[None]]]) -> object:
        """The flow's end; ``during[n]`` is what the person does in its n-th wait, told the user code."""
        flow = device_flow(client)
        reply: Answered | None = None
        try:
            while True:
                step = flow.send(reply)
                reply = None
                if isinstance(step, Ask):
                    reply = await self._ask(step)
                elif isinstance(step, Show):
                    self.shown = step
                elif isinstance(step, Wait):
                    self.waits.append(step.seconds)
                    if (act := during.get(len(self.waits))) is not None:
                        assert self.shown is not None
                        await act(self.shown.user_code)
        except StopIteration as finished:
            return finished.value

    async def _ask(self, ask: Ask) -> Answered:
        answer = await self.http.request("POST", ask.url, form=ask.form)
        try:
            body = answer.json()
        except UpstreamAnswer:
            body = None
        return Answered(answer.status, body, sum(self.waits))
