"""Each drill takes something away from the developer, and tells after how many seconds the last mint was granted.

Time is the company's own, so an hour is a statement, and the figure is exact to the step in which one asks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from juniperd.issuer.desk import Document
from tests.e2e.whole import SCOPE, Answer, Whole

JANITOR = "invoice-archive-janitor"
MINUTE = 60.0
AT_ONCE = 0.0
Take = Callable[[Whole], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Drill:
    """What is taken away, and the design's bound on the seconds to the last mint; ``within``: in a debugging session."""

    name: str
    bound: float
    take: Take
    within: bool = False


def _gitlab(*words: str) -> Take:
    async def take(inside: Whole) -> None:
        inside.drill("gitlab", *words)

    return take


def _desk(verb: str, **params: object) -> Take:
    async def take(inside: Whole) -> Document:
        return await inside.issuer.desk().act(verb, params)

    return take


async def _disable(inside: Whole) -> None:
    inside.drill("idp", "disable", "developer")


async def _logout(inside: Whole) -> None:
    await inside.control("logout")


async def _close(inside: Whole) -> None:
    await inside.control("session_close")


async def _lock(inside: Whole) -> None:
    await inside.control("lock")


DRILLS = (
    Drill("removed from the project", MINUTE, _gitlab("remove-member", "developer", "shop/billing")),
    Drill("made Reporter", MINUTE, _gitlab("set-role", "developer", "shop/billing", "reporter")),
    Drill("blocked in GitLab", MINUTE, _gitlab("block", "developer")),
    Drill("project archived", MINUTE, _gitlab("archive", "shop/billing")),
    Drill("environment protected", MINUTE, _gitlab("protect-environment", "shop/billing", "staging", "maintainer")),
    Drill("disabled in the identity provider", 11 * MINUTE, _disable),
    Drill("issuer deny --user", AT_ONCE, _desk("deny", kind="user", value="7")),
    Drill("issuer deny --scope", AT_ONCE, _desk("deny", kind="scope", value=SCOPE)),
    Drill("issuer deny --all", AT_ONCE, _desk("deny", kind="all", value="")),
    Drill("issuer link free", AT_ONCE, _desk("pins_free", user_id=7)),
    Drill("logout", AT_ONCE, _logout),
    Drill("lock", AT_ONCE, _lock),
    Drill(
        "in a session: removed from the project", MINUTE, _gitlab("remove-member", "developer", "shop/billing"), True
    ),
    Drill("in a session: disabled in the identity provider", 11 * MINUTE, _disable, True),
    Drill("in a session: issuer deny --user", AT_ONCE, _desk("deny", kind="user", value="7"), True),
    Drill("in a session: issuer link remove", AT_ONCE, _desk("link_remove", user_id=7), True),
    Drill("in a session: closed", AT_ONCE, _close, True),
    Drill("in a session: its time, of ten minutes", 10 * MINUTE, lambda _: _nothing(), True),
)


async def _nothing() -> None:
    return None


async def measure(inside: Whole, drill: Drill) -> float:
    """Seconds from the taking away to the last mint that was granted; 0 for none at all."""
    socket = (await inside.open_session(seconds=600))["socket"] if drill.within else None
    first = await _mint(inside, socket)
    assert first.status == 0, f"{drill.name}: {first}"
    await drill.take(inside)
    step = max(drill.bound / 12, 1.0)
    passed, last = 0.0, 0.0
    while passed <= 2 * drill.bound + step:
        if (await _mint(inside, socket)).status == 0:
            assert passed > 0 or drill.bound > 0, f"{drill.name}: granted at once afterwards"
            last = passed
        inside.clock.pass_by(step)
        passed += step
    return last


async def _mint(inside: Whole, socket: object) -> Answer:
    """A new mint, whatever is held: what a program of one's own could ask."""
    if socket is None:
        return await inside.mint()
    inside.agent.broker.forget("sandbox")
    try:
        return await inside.aws_at(socket, JANITOR)
    except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
        return Answer(1, b"", "the session has ended")
