"""The sign-in: made once for everybody who asks, kept alive by one refresh at a time, ended for good."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from juniperd import wire
from juniperd.errors import LoginExpired, LoginRequired, UpstreamUnreachable
from juniperd.signin import SignIn
from juniperd.store import StoredSignIn

from .harness import Running, Spoken, until


def sign_in(running: Running) -> SignIn:
    found = running.agent.desks["team"].sign_in
    assert isinstance(found, SignIn)
    return found


async def test_nobody_signed_in_is_one_line_with_the_cure(running: Running) -> None:
    answer = await running.aws()
    assert answer == Spoken(b"", b"juniper-aws: nobody is signed in; run: juniper login\n", 77)
    assert running.world.issuer.calls["/token"] == 0


async def test_the_code_is_shown_with_who_asks_and_where(running: Running) -> None:
    answer = await running.control("login")
    code, *_rest = answer.events
    assert code["event"] == "device_code"
    assert code["user_code"] == "BCDF-GHJK"
    assert code["app"] == "Juniper"
    assert str(code["verification_uri"]) == f"http://{code['host']}/activate"
    assert answer.events[-1]["event"] == "result"
    assert running.world.issuer.calls["/sign-ins"] == 1


async def test_ten_callers_are_one_login(running: Running) -> None:
    running.world.idp.approve = "authorization_pending"
    callers = [asyncio.create_task(running.control("login")) for _ in range(10)]
    await until(lambda: running.world.idp.calls["/token"] >= 2)
    late = asyncio.create_task(running.control("login"))
    await until(lambda: running.world.idp.calls["/token"] >= 5)
    running.world.idp.approve = None
    answers = await asyncio.gather(*callers, late)
    assert {answer.events[0]["user_code"] for answer in answers} == {"BCDF-GHJK"}
    assert {answer.status for answer in answers} == {0}
    assert running.world.idp.calls["/device"] == 1
    assert len(running.world.issuer.pins) == 1


async def test_ten_helpers_and_three_logins_are_one_flow(running: Running) -> None:
    running.world.idp.approve = "authorization_pending"
    logins = [asyncio.create_task(running.control("login")) for _ in range(3)]
    helpers = await asyncio.gather(*(running.aws() for _ in range(10)))
    assert {helper.stderr for helper in helpers} == {b"juniper-aws: nobody is signed in; run: juniper login\n"}
    await until(lambda: running.world.idp.calls["/device"])
    running.world.idp.approve = None
    assert {answer.status for answer in await asyncio.gather(*logins)} == {0}
    assert running.world.idp.calls["/device"] == 1
    assert {helper.status for helper in await asyncio.gather(*(running.aws() for _ in range(10)))} == {0}
    assert running.world.sts.calls["/"] == 1


async def _begin_login(running: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(running.path)
    writer.write(wire.encode_request(wire.Request((b"juniper", b"login"))))
    assert await reader.readexactly(1) == b"\x01"
    await reader.readexactly(1)
    return reader, writer


async def test_who_leaves_does_not_end_it_for_the_others_and_the_last_one_does(running: Running) -> None:
    idp = running.world.idp
    idp.approve = "authorization_pending"
    _reader, leaver = await _begin_login(running)
    _reader, last = await _begin_login(running)
    leaver.close()
    await leaver.wait_closed()
    polls = idp.calls["/token"]
    await until(lambda: idp.calls["/token"] >= polls + 3)
    last.close()
    await last.wait_closed()
    await asyncio.sleep(0.05)
    polls = idp.calls["/token"]
    await asyncio.sleep(0.05)
    assert idp.calls["/token"] == polls
    idp.approve = None
    await running.login()
    assert idp.calls["/device"] == 2


async def test_a_declined_login_says_so_and_leaves_nothing(running: Running) -> None:
    running.world.idp.approve = "access_denied"
    answer = await running.control("login")
    assert answer.status == 77
    assert answer.stderr == b"juniper: the sign-in was declined in the browser; run: juniper login\n"
    assert (await running.aws()).status == 77


@pytest.mark.parametrize("word", ["access_denied", "expired_token"])
async def test_a_no_is_remembered_for_a_minute_and_by_the_same_flow_alone(running: Running, word: str) -> None:
    idp = running.world.idp
    idp.approve = word
    first = await running.control("login", flow="device")
    running.world.clock.now += 12
    asked = idp.calls["/device"]
    for _ in range(20):
        again = await running.control("login", flow="device")
        assert again.status == 77
        assert again.stderr == first.stderr.replace(b"; run: juniper login", b", 12 s ago; run: juniper login --again")
    assert idp.calls["/device"] == asked
    await running.control("login")
    await running.control("login", flow="device", again=True)
    assert idp.calls["/device"] == asked + 2
    idp.approve = None
    assert (await running.control("login", flow="device")).status == 77
    running.world.clock.now += 60
    assert (await running.control("login", flow="device")).status == 0
    assert (await running.control("login", flow="device")).status == 0, "a sign-in makes the no forgotten"


async def test_one_who_leaves_is_no_no(running: Running) -> None:
    running.world.idp.approve = "authorization_pending"
    _reader, leaver = await _begin_login(running)
    leaver.close()
    await leaver.wait_closed()
    running.world.idp.approve = None
    assert (await running.control("login")).status == 0


async def test_an_issuer_that_does_not_take_it_leaves_nothing_either(running: Running) -> None:
    body = {"error": "access_denied", "error_description": "no GitLab user is linked; ask an administrator"}
    running.world.issuer.fault["/sign-ins"] = (403, body)
    answer = await running.control("login")
    assert answer.stderr == b"juniper: no GitLab user is linked; ask an administrator\n"
    assert running.world.idp.revoked == ["refresh-1"]
    assert sign_in(running).identity is None


@pytest.mark.parametrize(
    ("missing", "names"), [("id_token", "openid"), ("auth_time", "auth_time"), ("refresh_token", "offline_access")]
)
async def test_what_the_provider_leaves_out_is_named(running: Running, missing: str, names: str) -> None:
    running.world.idp.without = {missing}
    answer = await running.control("login")
    assert answer.status != 0
    assert names in answer.stderr.decode()
    assert answer.stderr.endswith(b"then run: juniper login\n")


async def test_an_id_token_is_refreshed_after_four_minutes_and_not_before(running: Running) -> None:
    await running.login()
    running.world.clock.now += 230
    await running.aws("first")
    assert running.world.idp.spent == set()
    running.world.clock.now += 10
    await running.aws("second")
    assert running.world.idp.spent == {"refresh-1"}
    assert running.world.issuer.oldest_age <= 240


async def test_many_callers_are_one_refresh(running: Running) -> None:
    await running.login()
    running.world.clock.now += 300
    await asyncio.gather(*(sign_in(running).subject() for _ in range(20)))
    assert running.world.idp.spent == {"refresh-1"}


async def test_a_cancelled_caller_does_not_lose_the_rotated_token(running: Running) -> None:
    await running.login()
    running.world.clock.now += 300
    caller = asyncio.create_task(sign_in(running).subject())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await caller
    await sign_in(running).subject()
    stored = await running.agent.store.load(running.world.issuer.url)
    assert stored is not None
    assert stored.refresh_token.reveal() == "refresh-2"
    assert running.world.idp.refresh_tokens == {"refresh-2"}


async def test_callers_that_leave_one_refresh_after_the_other_lose_nothing(running: Running) -> None:
    await running.login()
    for _ in range(10):
        running.world.clock.now += 300
        spent = len(running.world.idp.spent)
        callers = [asyncio.create_task(running.control("catalogue")) for _ in range(5)]
        await until(lambda spent=spent: len(running.world.idp.spent) > spent)  # type: ignore[misc]
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
    assert (await running.control("catalogue")).status == 0


async def test_the_new_refresh_token_is_stored_before_what_came_with_it_is_looked_at(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running.login()
    running.world.clock.now += 300
    running.world.idp.without = {"auth_time"}
    saved: list[str] = []
    store = running.agent.store
    save = store.save

    async def watched(entry: StoredSignIn) -> None:
        saved.append(entry.refresh_token.reveal())
        await save(entry)

    monkeypatch.setattr(store, "save", watched)
    with pytest.raises(LoginRequired, match="auth_time"):
        await sign_in(running).subject()
    assert saved == ["refresh-1", "refresh-2"], "what goes out is marked first"


async def test_a_sign_in_the_provider_ended_says_why(running: Running) -> None:
    await running.login()
    await running.aws()
    running.world.clock.now += 300
    running.world.idp.refresh_tokens.clear()
    with pytest.raises(LoginExpired, match="unknown token"):
        await sign_in(running).subject()
    again = await running.aws()
    assert again.stderr.startswith(b"juniper-aws: Test sign-in ended the sign-in (invalid_grant: unknown token)")
    assert again.stderr.endswith(b"; run: juniper login\n")
    status = (await running.control("status")).events[-1]
    assert status["leases"] == []
    assert status["sign_in"]["state"] == "ended"  # type: ignore[index]


async def test_another_persons_answer_ends_the_sign_in(running: Running) -> None:
    await running.login()
    running.world.clock.now += 300
    running.world.idp.subject = "u-maintainer"
    with pytest.raises(LoginExpired, match="another person"):
        await sign_in(running).subject()


async def test_the_end_is_forecast_and_kept(running: Running) -> None:
    result = await running.login()
    assert result["ends_at"] == running.world.clock() + 43200
    running.world.clock.now += 43200
    with pytest.raises(LoginExpired, match="reached its end"):
        await sign_in(running).subject()
    assert running.world.idp.spent == set()


async def test_a_provider_that_is_down_does_not_end_a_young_sign_in(running: Running) -> None:
    await running.login()
    running.world.idp.fault["/token"] = (503, {})
    running.world.clock.now += 500
    await sign_in(running).subject()
    running.world.clock.now += 100
    with pytest.raises(UpstreamUnreachable, match="status 503"):
        await sign_in(running).subject()
    del running.world.idp.fault["/token"]
    await sign_in(running).subject()


async def test_logout_frees_the_pin_revokes_and_forgets(running: Running) -> None:
    await running.login()
    await running.aws()
    answer = await running.control("logout")
    assert answer.events[-1]["notes"] == []
    assert running.world.issuer.pins == set()
    assert running.world.idp.revoked == ["refresh-1"]
    assert (await running.aws()).stderr == b"juniper-aws: nobody is signed in; run: juniper login\n"


async def test_logout_without_the_servers_still_forgets_and_says_what_is_left(running: Running) -> None:
    await running.login()
    running.world.issuer.fault["/sign-ins"] = (503, {"error": "temporarily_unavailable"})
    running.world.idp.fault["/revoke"] = (500, {})
    answer = await running.control("logout")
    notes = answer.events[-1]["notes"]
    assert isinstance(notes, list)
    assert len(notes) == 2
    assert (await running.aws()).status == 77


async def test_signing_in_again_replaces_key_pin_and_leases(running: Running) -> None:
    await running.login()
    await running.aws()
    (first,) = running.world.issuer.pins
    await running.login()
    (second,) = running.world.issuer.pins
    assert first != second
    await running.aws()
    assert running.world.sts.calls["/"] == 2
    assert running.world.idp.revoked == []


async def test_a_login_cut_short_by_the_end_of_the_agent_is_told(running: Running) -> None:
    running.world.idp.approve = "authorization_pending"
    reader, writer = await _begin_login(running)
    await running.control("down")
    rest = await reader.read()
    assert b"juniper: the sign-in was cut off; run: juniper login\n" in rest
    writer.close()


async def test_whoami_asks_the_issuer_where_memory_does_not_say(running: Running) -> None:
    await running.login()
    answer = (await running.control("whoami")).events[-1]
    assert answer["user"] == {"id": "7", "login": "developer"}
    assert json.dumps(answer).count("refresh") == 0


@pytest.mark.parametrize("body", [{}, {"access_token": 7}, {"error": "x"}, [], "x"])
async def test_nonsense_in_place_of_a_renewal_ends_no_sign_in(running: Running, body: object) -> None:
    await running.login()
    running.world.clock.now += 300
    running.world.idp.fault["/token"] = (200, body)  # type: ignore[assignment]  # what no provider should answer
    assert (await running.aws()).status == 0, "the ID token counts for nine minutes"
    del running.world.idp.fault["/token"]
    running.agent.broker.forget("team")
    assert (await running.aws()).status == 0
    assert running.world.idp.calls["/device"] == 1
