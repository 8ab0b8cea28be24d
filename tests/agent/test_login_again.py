"""A login over a sign-in that stands: nothing is lost by one that fails, and none ends as another one did."""

from __future__ import annotations

import asyncio

import pytest

from juniperd.errors import UpstreamUnreachable
from juniperd.http import Answer, Http
from juniperd.signin import SignIn

from .harness import Running, Spoken, until


def sign_in(running: Running) -> SignIn:
    found = running.agent.desks["team"].sign_in
    assert isinstance(found, SignIn)
    return found


async def begun(running: Running) -> asyncio.Task[Spoken]:
    """A login that stands before the issuer, which does not answer."""
    calls = running.world.issuer.calls["/sign-ins"]
    running.world.issuer.answers_sign_ins.clear()
    login = asyncio.create_task(running.control("login"))
    await until(lambda: running.world.issuer.calls["/sign-ins"] > calls)
    return login


async def left(login: asyncio.Task[Spoken]) -> None:
    login.cancel()
    await asyncio.wait([login])


@pytest.mark.parametrize(
    ("status", "error"), [(503, "temporarily_unavailable"), (403, "access_denied"), (400, "invalid_request")]
)
async def test_one_that_the_issuer_does_not_take_leaves_the_old_one(running: Running, status: int, error: str) -> None:
    await running.login()
    await running.aws()
    key = sign_in(running).identity
    running.world.issuer.fault["/sign-ins"] = (status, {"error": error, "error_description": "no"})
    assert (await running.control("login")).status != 0
    assert sign_in(running).identity == key
    assert running.world.idp.revoked == [], "a provider may tie both tokens to one grant"
    running.world.clock.now += 300
    assert (await running.aws("never-asked-for")).status == 0
    stored = await running.agent.store.load(running.world.issuer.url)
    assert stored is not None
    assert stored.refresh_token.reveal() in running.world.idp.refresh_tokens


async def test_the_person_is_told_that_the_issuer_is_asked(running: Running) -> None:
    answer = await running.control("login")
    checking = {"issuer": "team", "event": "checking", "text": "checking with the issuer"}
    assert answer.events[-2:-1] == [checking]


async def test_a_silent_issuer_is_waited_for_once(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    await running.login()
    running.world.clock.now += 660
    request, waits = Http.request, []

    async def silent(http: Http, method: str, url: str, **options: float) -> Answer:
        if not url.startswith(running.world.issuer.url):
            return await request(http, method, url, **options)  # type: ignore[arg-type]
        waits.append((method, options["timeout"]))
        msg = "did not answer in time"
        raise UpstreamUnreachable(msg, host="issuer")

    monkeypatch.setattr(Http, "request", silent)
    assert (await running.control("login")).status == 69
    assert waits == [("GET", 3.0), ("POST", 10.0)]
    monkeypatch.setattr(Http, "request", request)
    assert (await running.aws()).status == 0


async def test_the_issuer_has_one_deadline(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    await running.login()
    key = sign_in(running).identity
    monkeypatch.setattr("juniperd.adoption.ADOPT_TIME", 0.05)
    answer = await (await begun(running))
    assert answer.stderr == (
        b"juniper: the issuer did not take the sign-in within 0 s; check your VPN, then try again\n"
    )
    running.world.issuer.answers_sign_ins.set()
    assert sign_in(running).identity == key
    assert (await running.aws()).status == 0


async def test_a_first_login_that_comes_to_nothing_is_revoked(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("juniperd.adoption.ADOPT_TIME", 0.05)
    assert (await (await begun(running))).status == 69
    running.world.issuer.answers_sign_ins.set()
    assert running.world.idp.revoked == ["refresh-1"]
    assert (await running.aws()).status == 77


async def test_a_provider_that_does_not_revoke_in_time_holds_nobody_up(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("juniperd.adoption.GIVE_BACK_TIME", 0.05)
    running.world.issuer.fault["/sign-ins"] = (503, {})
    never = asyncio.Event()

    async def waits(*_arguments: object, **_options: object) -> None:
        await never.wait()

    monkeypatch.setattr(sign_in(running)._idp, "revoke", waits)
    assert (await running.control("login")).status == 69


async def test_the_key_of_one_that_failed_serves_the_next(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The issuer pins before it answers: what it has pinned must not stand in the way of the next try."""
    running.world.issuer.one_pin = True
    request = Http.request

    async def lost(http: Http, method: str, url: str, **options: object) -> Answer:
        answer = await request(http, method, url, **options)  # type: ignore[arg-type]
        if url.endswith("/sign-ins"):
            msg = "the answer was lost"
            raise UpstreamUnreachable(msg)
        return answer

    monkeypatch.setattr(Http, "request", lost)
    assert (await running.control("login")).status == 69
    assert len(running.world.issuer.pins) == 1
    monkeypatch.setattr(Http, "request", request)
    await running.login()
    assert running.world.issuer.pins == {sign_in(running).identity}


async def test_one_left_at_its_end_is_not_what_the_next_one_is_told(running: Running) -> None:
    first = await begun(running)
    await left(first)
    second = asyncio.create_task(running.control("login"))
    await until(lambda: running.world.idp.calls["/token"] >= 2)
    running.world.issuer.answers_sign_ins.set()
    answer = await second
    assert (answer.status, answer.events[-1]["login"]) == (0, "developer")
    assert running.world.issuer.pins == {sign_in(running).identity}
    stored = await running.agent.store.load(running.world.issuer.url)
    assert stored is not None
    assert stored.refresh_token.reveal() == "refresh-2"


async def test_one_session_at_the_provider_goes_on_with_the_key_it_has(running: Running) -> None:
    running.world.issuer.one_pin = True
    await running.login()
    key = sign_in(running).identity
    await running.login()
    assert running.world.issuer.pins == {key}
    assert sign_in(running).identity == key
    assert (await running.aws()).status == 0
    running.world.clock.now += 300
    await sign_in(running).subject()
    assert running.world.idp.spent == {"refresh-2"}


async def test_one_refused_for_either_key_says_why_and_keeps_the_old_one(running: Running) -> None:
    await running.login()
    body = {"error": "invalid_request", "error_description": "the sign-in is too old; sign out in your browser"}
    running.world.issuer.fault["/sign-ins"] = (400, body)
    answer = await running.control("login")
    assert b"the sign-in is too old; sign out in your browser" in answer.stderr
    del running.world.issuer.fault["/sign-ins"]
    assert (await running.aws()).status == 0


async def test_another_person_takes_the_place_and_the_old_key_is_freed(running: Running) -> None:
    await running.login()
    running.world.idp.subject = "u-maintainer"
    await running.login()
    assert running.world.issuer.pins == {sign_in(running).identity}


async def test_an_old_key_that_cannot_be_freed_holds_nobody_up(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running.login()
    monkeypatch.setattr("juniperd.adoption.GIVE_BACK_TIME", 0.05)
    never = asyncio.Event()

    async def waits(*_arguments: object, **_options: object) -> None:
        await never.wait()

    monkeypatch.setattr(running.agent.desks["team"].issuer, "sign_out", waits)
    await running.login()
    assert (await running.aws()).status == 0
