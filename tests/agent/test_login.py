"""A joinable login: whoever listens hears how it ends, however early that was."""

from __future__ import annotations

import asyncio

import pytest

from juniperd.errors import UpstreamUnreachable
from juniperd.identity.device import Show
from juniperd.login import CodeShown, JoinableLogin, SignedIn, Tell


async def test_a_login_that_failed_before_anybody_listened_is_told_to_who_listens_then() -> None:
    async def fails(_tell: Tell) -> SignedIn:
        msg = "the provider cannot be reached"
        raise UpstreamUnreachable(msg)

    login = JoinableLogin(fails)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not login.open
    async with asyncio.timeout(20):
        with pytest.raises(UpstreamUnreachable, match="cannot be reached"):
            await anext(login.listen())


async def test_a_login_that_ended_well_before_anybody_listened_is_told_too() -> None:
    done = SignedIn("person", "7", "developer", "team", 1.0)

    async def ends(_tell: Tell) -> SignedIn:
        return done

    login = JoinableLogin(ends)
    for _ in range(5):
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        assert [event async for event in login.listen()] == [done]


async def test_who_joins_late_is_told_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    shown = CodeShown(Show("WDJB-MJHT", "https://idp.example/activate", None, 600.0), "Juniper", "idp.example", "Team")

    async def waits(tell: Tell) -> SignedIn:
        tell(shown)
        return await asyncio.Future()

    login = JoinableLogin(waits)
    first = login.listen()
    assert await anext(first) == shown
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + 240.0)
    late = login.listen()
    joined = await anext(late)
    monkeypatch.undo()
    assert isinstance(joined, CodeShown)
    assert joined.show.expires_in == pytest.approx(360.0, abs=1.0)
    await late.aclose()
    await first.aclose()
