"""Deploy tokens: ordered, handed over on record, and ended by whatever ends their reason; with a minter of every temper."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from juniperd import listener
from juniperd.errors import ConfigError
from juniperd.issuer import minting, orders
from juniperd.issuer.deploy_tokens import DeployTokens
from juniperd.issuer.orders import Entry
from juniperd.issuer.token_request import DEPLOY_TOKEN, JWT
from juniperd.model import Secret, rfc3339
from juniperd.order import Act
from tests.agent.harness import until
from tests.issuer.doubles import NOW, Company, Laptop, Row
from tests.issuer.minter_double import Fault, Minter, changed, ending, everything, minting_company, plain, rows

READER, WRITER = "image-reader", "image-writer"


@pytest.fixture
async def minter() -> Minter:
    return Minter()


@pytest.fixture
async def company(tmp_path: Path, minter: Minter) -> AsyncIterator[Company]:
    async with minting_company(tmp_path, minter) as opened:
        yield opened


async def pull(laptop: Laptop, token: str, **asked: Any) -> tuple[int, Row]:
    return await laptop.token(token, **{"scope": READER, "audience": "images", **asked})


async def held(company: Company, **asked: Any) -> tuple[Laptop, str, Row]:
    """A laptop with a deploy token."""
    laptop, token = await company.signed_in()
    status, body = await pull(laptop, token, **asked)
    assert status == 200, body
    return laptop, token, body


# --- the way out ------------------------------------------------------------------------------------------------------


async def test_a_registrys_token_is_ordered_recorded_and_handed_over(company: Company, minter: Minter) -> None:
    _, _, body = await held(company)
    (asked,) = minter.asked
    assert (asked.act, asked.project_id, asked.user) == (Act.MINT, 42, "7-developer")
    assert (asked.scopes, asked.ends_at) == (("read_registry",), NOW + 3600)
    (decision,) = company.events()
    assert body == {
        "access_token": minter.secrets[0],
        "issued_token_type": DEPLOY_TOKEN,
        "token_type": "N_A",
        "expires_in": 3600,
        "scope": READER,
        "decision": decision["id"],
        "target": {
            "relying_party": "images",
            "kind": "registry",
            "ttl": 3600,
            "project_id": 42,
            "environment": "staging",
            "ref": None,
            "session_name": "7-developer",
            "host": "registry.gitlab.test:5050",
            "username": "juniper-7-developer",
        },
    }
    assert (decision["verdict"], decision["order"]) == ("permitted", asked.id)
    assert "jti" not in decision
    (event,) = company.events("minted")
    assert {name: event[name] for name in ("order", "decision", "project_id", "token_id", "user", "session")} == {
        "order": asked.id,
        "decision": decision["id"],
        "project_id": 42,
        "token_id": 1,
        "user": "7-developer",
        "session": None,
    }
    assert event["ends_at"] == rfc3339(NOW + 3600)
    (entry,) = rows(company)
    assert (entry.state, entry.digest) == ("out", orders.digest_of(Secret(minter.secrets[0])))


async def test_gits_token_reads_the_repository_and_a_session_bounds_what_it_wakes(
    company: Company, minter: Minter
) -> None:
    laptop, token, body = await held(company, audience="code")
    assert (body["target"]["kind"], body["target"]["host"]) == ("git", "gitlab.test")
    _, session = await laptop.open_session(token, seconds=900)
    status, body = await pull(laptop, token, scope=WRITER, session=session["id"])
    assert (status, body["expires_in"]) == (200, 900)
    assert [one.scopes for one in minter.asked] == [("read_repository",), ("read_registry", "write_registry")]
    assert minter.asked[1].ends_at == session["ends_at"]
    assert company.events("minted")[-1]["session"] == session["id"]
    company.clock.pass_(781)
    status, body = await pull(laptop, company.idp.token(auth_time=int(NOW) - 5), scope=WRITER, session=session["id"])
    assert (status, body["refusal"]["reason"]) == (403, "session_ending")


async def test_a_minter_that_ends_a_token_sooner_is_believed(company: Company, minter: Minter) -> None:
    minter.faults.append(changed(ends_at=int(NOW) + 600))
    laptop, token, body = await held(company)
    assert (body["expires_in"], rows(company)[0].ends_at) == (600, NOW + 600)
    minter.faults.append(changed(ends_at=int(NOW) + 7200))
    _, body = await pull(laptop, token)
    assert body["expires_in"] == 3600


@pytest.mark.parametrize("wanted", [JWT, DEPLOY_TOKEN])
async def test_either_type_may_be_asked_for(company: Company, wanted: str) -> None:
    _, _, body = await held(company, requested_token_type=wanted)
    assert body["issued_token_type"] == DEPLOY_TOKEN


async def test_a_deploy_token_for_something_else_is_refused_by_name(company: Company) -> None:
    laptop, token = await company.signed_in()
    asked = {"scope": "ecr-reader", "audience": "aws-staging", "requested_token_type": DEPLOY_TOKEN}
    status, body = await laptop.token(token, **asked)
    assert (status, body["error"]) == (400, "invalid_request")
    assert body["error_description"] == "no deploy token is made for aws-staging; ask for a JWT"
    assert company.events()[-1]["reason"] == "token_type"
    status, body = await laptop.token(token, requested_token_type="urn:x")
    assert body["error_description"] == "requested_token_type must be a JWT's or a deploy token's"


async def test_an_odd_login_becomes_a_name_that_gitlab_takes(company: Company, minter: Minter) -> None:
    company.gitlab.one["users/7"]["username"] = "devel öper+1"
    _, _, body = await held(company)
    assert body["target"]["username"] == "juniper-7-devel--per-1"
    assert minter.asked[0].user == "7-devel--per-1"


# --- what is known before and after the call ---------------------------------------------------------------------------


async def held_back(company: Company, minter: Minter, meanwhile: Callable[[], Awaitable[object]]) -> tuple[int, Row]:
    """The answer of a request whose minter is held while something else is done."""
    laptop, token = await company.signed_in()
    minter.hold()
    asking = asyncio.create_task(pull(laptop, token))
    async with asyncio.timeout(20):
        await minter.reached.wait()
        await meanwhile()
        minter.go_on.set()
        return await asking


async def test_the_order_is_on_disk_before_the_minter_hears_of_it(company: Company, minter: Minter) -> None:
    async def look() -> None:
        with closing(sqlite3.connect(f"file:{company.folder}/state/state.db?mode=ro", uri=True)) as other:
            (entry,) = everything(other)
        assert (entry.id, entry.state, entry.digest) == (minter.asked[0].id, "ordered", None)
        assert company.events()[0]["order"] == entry.id
        assert company.events("minted") == []

    assert (await held_back(company, minter, look))[0] == 200


async def test_what_a_killed_issuer_ordered_is_ended_by_the_next(tmp_path: Path, minter: Minter) -> None:
    left = tmp_path / "left"
    (tmp_path / "first").mkdir()
    async with minting_company(tmp_path / "first", minter) as company:

        async def kill() -> None:
            """The folder as it stands at this moment, which is all that a killed process leaves."""
            (left / "state").mkdir(parents=True, mode=0o700)
            for path in (company.folder / "state").glob("state.db*"):
                shutil.copy(path, left / "state")
            shutil.copytree(company.folder / "keys", left / "keys")

        assert (await held_back(company, minter, kill))[0] == 200
    (number,) = minter.told(Act.MINT)
    assert number in minter.living
    async with minting_company(left, minter) as company:
        (entry,) = rows(company)
        assert (entry.id, entry.state, entry.cause) == (number, "ending", "lost")
        await company.issuer.minting.once()
        assert (minter.told(Act.END), minter.living) == ([number], {})
        (event,) = company.events("order_ended")
        assert (event["order"], event["cause"]) == (number, "lost")


@pytest.mark.parametrize(
    ("act", "status", "reason"),
    [
        (("deny", {"kind": "user", "value": "7"}), 403, "denied"),
        (("deny", {"kind": "scope", "value": READER}), 403, "denied"),
        (("pins_free", {"user_id": 7}), 400, "not_pinned"),
    ],
)
async def test_what_is_taken_away_while_the_minter_works_is_not_handed_over(
    company: Company, minter: Minter, act: tuple[str, Row], status: int, reason: str
) -> None:
    answer = await held_back(company, minter, lambda: company.issuer.desk().act(*act))
    assert (answer[0], answer[1]["refusal"]["reason"]) == (status, reason)
    assert minter.secrets[0] not in str(answer[1])
    (failed,) = company.events("mint_failed")
    assert (failed["reason"], failed["order"], company.events("minted")) == (reason, minter.asked[0].id, [])
    await company.issuer.minting.once()
    assert minter.living == {}


async def test_the_minter_is_told_to_end_nothing_before_it_has_answered(company: Company, minter: Minter) -> None:
    async def deny() -> None:
        await company.issuer.desk().act("deny", {"kind": "user", "value": "7"})
        await company.issuer.minting.once()
        assert (rows(company)[0].state, minter.told(Act.END)) == ("ending", [])

    async with ending(company):
        assert (await held_back(company, minter, deny))[0] == 403
        await until(lambda: minter.told(Act.END))
    assert minter.living == {}


async def test_an_order_that_was_ended_meanwhile_is_not_let_out(company: Company, minter: Minter) -> None:
    async def deny_and_undo() -> None:
        for verb in ("deny", "undeny"):
            await company.issuer.desk().act(verb, {"kind": "all", "value": ""})

    status, body = await held_back(company, minter, deny_and_undo)
    assert (status, body["error"], body["refusal"]["reason"]) == (503, "temporarily_unavailable", "order_ended")
    assert body["error_description"] == "the deploy token was ended before it could be handed over; try again"
    await company.issuer.minting.once()
    assert minter.living == {}


async def test_a_session_closed_while_the_minter_works_gets_nothing(company: Company, minter: Minter) -> None:
    laptop, token = await company.signed_in()
    _, session = await laptop.open_session(token)
    minter.hold()
    asking = asyncio.create_task(pull(laptop, token, scope=WRITER, session=session["id"]))
    async with asyncio.timeout(20):
        await minter.reached.wait()
        assert (await laptop.call("DELETE", f"/sessions/{session['id']}", token))[0] == 204
        minter.go_on.set()
        status, body = await asking
    assert (status, body["refusal"]["reason"]) == (403, "session_ended")
    assert rows(company)[0].state == "ending"


async def test_a_data_base_that_fails_after_the_minter_hands_nothing_over(
    company: Company, minter: Minter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    laptop, token = await company.signed_in()
    with monkeypatch.context() as patched:
        patched.setattr(orders, "let_out", full)
        status, body = await pull(laptop, token)
    assert (status, body["error"]) == (503, "server_error")
    assert rows(company)[0].state == "ordered"
    await company.issuer.minting.once()
    assert (rows(company)[0].state, rows(company)[0].cause, minter.living) == ("ended", "failed", {})


# --- a minter that fails ----------------------------------------------------------------------------------------------


def redirect(_: Row) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/orders"})


HOSTILE: dict[str, tuple[Fault, str]] = {
    "another order": (changed(order="another"), "something that is no deploy token for this order"),
    "no secret": (changed(token=None), "something that is no deploy token for this order"),
    "a long secret": (changed(token="x" * 3072), "something that is no deploy token for this order"),
    "a secret of two lines": (changed(token="gldt-1\ngldt-2"), "something that is no deploy token for this order"),
    "another user name": (changed(username="root"), "something that is no deploy token for this order"),
    "a token that has ended": (changed(ends_at=int(NOW)), "a deploy token that has ended"),
    "a redirect": (redirect, "status 302"),
    "a page": (plain("<html>"), "status 200 with something that is not JSON"),
    "too much": (plain("x" * 20_000), "more than 16384 bytes"),
    "an error of its own": (plain("gldt-leaked", 500), "status 500"),
    "a refusal of its own": (plain("no", 401), "status 401"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_an_answer_that_is_none_hands_nothing_over_and_is_ended(
    company: Company, minter: Minter, name: str
) -> None:
    fault, said = HOSTILE[name]
    minter.faults.append(fault)
    laptop, token = await company.signed_in()
    status, body = await pull(laptop, token)
    assert (status, body["error"]) == (503, "temporarily_unavailable")
    assert body["error_description"].startswith("the minter cannot be asked now: 127.0.0.1:")
    assert body["error_description"].endswith("; try again")
    assert said in body["error_description"]
    assert body["refusal"] == {"id": company.events()[0]["id"], "reason": "minter_late", "rule": "mint"}
    (failed,) = company.events("mint_failed")
    assert (failed["reason"], failed["decision"]) == ("minter_late", body["refusal"]["id"])
    await company.issuer.minting.once()
    assert (minter.living, minter.told(Act.END)) == ({}, minter.told(Act.MINT))


async def test_a_minter_that_is_slow_is_not_waited_for(
    company: Company, minter: Minter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minting, "PATIENCE", 0.05)
    minter.hold()
    laptop, token = await company.signed_in()
    status, body = await pull(laptop, token)
    assert (status, "did not answer within" in body["error_description"]) == (503, True)
    minter.go_on.set()
    monkeypatch.undo()
    await company.issuer.minting.once()
    assert minter.living == {}


async def test_a_minter_that_is_down_is_said_to_be(tmp_path: Path, minter: Minter) -> None:
    async with minting_company(tmp_path, minter) as company:
        company.issuer.minting._url = "http://127.0.0.1:9"
        laptop, token = await company.signed_in()
        status, body = await pull(laptop, token)
        said = "the minter cannot be asked now: 127.0.0.1:9 cannot be reached; try again"
        assert (status, body["error_description"]) == (503, said)


async def test_a_project_that_the_minter_does_not_serve_is_named_with_who_mends_it(
    company: Company, minter: Minter
) -> None:
    minter.down = 403
    laptop, token = await company.signed_in()
    status, body = await pull(laptop, token)
    assert (status, body["error"]) == (400, "invalid_target")
    assert body["error_description"] == (
        "the minter makes no tokens in project 42; ask who runs it to add that to its list"
    )
    assert body["refusal"]["reason"] == "minter_refused"
    assert rows(company)[0].state == "ending"


async def test_without_a_minter_what_must_end_waits_and_says_so(
    company: Company, minter: Minter, caplog: pytest.LogCaptureFixture
) -> None:
    await held(company)
    company.issuer.minting._url = None
    await company.issuer.desk().act("deny", {"kind": "all", "value": ""})
    with caplog.at_level(logging.WARNING):
        await company.issuer.minting.once()
    assert "is not ended yet (no minter is configured)" in caplog.text
    assert minter.told(Act.END) == []


async def test_a_ca_file_that_cannot_be_read_leaves_nothing_behind_and_stops_no_loop(
    company: Company, minter: Minter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def unreadable(*_: object, **__: object) -> None:
        msg = "the CA file ca.pem cannot be read"
        raise ConfigError(msg, "mend [network] ca_file")

    laptop, token = await company.signed_in()
    with monkeypatch.context() as patched:
        patched.setattr(company.issuer.minting, "_send", unreadable)
        status, body = await pull(laptop, token)
        assert (status, body["error"]) == (500, "server_error")
        assert await company.issuer.minting.once() == minting.LOOK_AGAIN
    assert "what must end cannot be ended now (the CA file ca.pem cannot be read; mend" in caplog.text
    await company.issuer.minting.once()
    assert (rows(company)[0].state, minter.told(Act.END)) == ("ended", [rows(company)[0].id])


# --- who hangs up -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_token_that_nobody_waits_for_any_more_is_ended(
    tmp_path: Path, minter: Minter, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    runner = partial(web.AppRunner, handler_cancellation=cancelled)
    monkeypatch.setattr("juniperd.listener.web.AppRunner", runner)
    async with minting_company(tmp_path, minter) as company, asyncio.timeout(20):
        laptop, token = await company.signed_in()
        minter.hold()
        asking = asyncio.create_task(pull(laptop, token))
        await minter.reached.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        # The listener has seen the first connection end once it has answered on another.
        async with company.session.get(f"{company.wire}/jwks") as answer:
            await answer.read()
        minter.go_on.set()
        async with ending(company):
            await until(lambda: company.events("order_ended"))
        assert company.events("minted") == []
        assert company.events("mint_failed")[0]["reason"] == company.events("order_ended")[0]["cause"] == "hung_up"
        assert minter.living == {}


async def test_an_issuer_that_stops_in_the_middle_leaves_an_order_to_end(
    tmp_path: Path, minter: Minter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_SHUTDOWN", 0.01)
    close = DeployTokens.close

    async def answered_late(tokens: DeployTokens) -> None:
        minter.go_on.set()
        await close(tokens)

    monkeypatch.setattr(DeployTokens, "close", answered_late)
    async with minting_company(tmp_path, minter) as company:
        laptop, token = await company.signed_in()
        minter.hold()
        asking = asyncio.create_task(pull(laptop, token))
        await minter.reached.wait()
    await asyncio.gather(asking, return_exceptions=True)
    with closing(sqlite3.connect(tmp_path / "state" / "state.db")) as connection:
        (entry,) = everything(connection)
    assert (entry.state, entry.cause) == ("ending", "hung_up")
    async with minting_company(tmp_path, minter) as company:
        await company.issuer.minting.once()
        assert minter.living == {}


# --- what ends them ---------------------------------------------------------------------------------------------------


async def in_session(company: Company) -> tuple[Laptop, str, Row]:
    laptop, token = await company.signed_in()
    _, session = await laptop.open_session(token)
    assert (await pull(laptop, token, scope=WRITER, session=session["id"]))[0] == 200
    assert (await pull(laptop, token))[0] == 200
    return laptop, token, session


def causes(company: Company) -> dict[str, str | None]:
    return {entry.scope: entry.cause for entry in rows(company)}


async def test_the_end_of_a_session_ends_what_was_ordered_in_it_and_nothing_else(
    company: Company, minter: Minter
) -> None:
    laptop, token, session = await in_session(company)
    async with ending(company):
        assert (await laptop.call("DELETE", f"/sessions/{session['id']}", token))[0] == 204
        await until(lambda: company.events("order_ended"))
    assert causes(company) == {WRITER: "session", READER: None}
    assert list(minter.living) == minter.told(Act.MINT)[1:]


async def test_a_session_that_runs_out_ends_it_too(company: Company, minter: Minter) -> None:
    laptop, token = await company.signed_in()
    _, session = await laptop.open_session(token, seconds=900)
    assert (await pull(laptop, token, scope=WRITER, session=session["id"]))[0] == 200
    company.clock.pass_(900)
    await company.issuer.sweep.once()
    assert causes(company) == {WRITER: "session"}
    await company.issuer.minting.once()
    assert minter.told(Act.END) == [], "past its end the minter sees to it by itself"


async def test_a_logout_ends_everything_of_its_key(company: Company) -> None:
    laptop, token, _ = await in_session(company)
    other, theirs = await company.signed_in("maintainer")
    assert (await pull(other, theirs, audience="code"))[0] == 200
    async with ending(company):
        assert (await laptop.call("DELETE", "/sign-ins", token))[0] == 204
        await until(lambda: len(company.events("order_ended")) == 2)
    assert [entry.state for entry in rows(company) if entry.user_id == 8] == ["out"]


@pytest.mark.parametrize(
    ("verb", "params", "ended"),
    [
        ("deny", {"kind": "user", "value": "7"}, {(7, READER), (7, WRITER)}),
        ("deny", {"kind": "scope", "value": READER}, {(7, READER), (8, READER)}),
        ("deny", {"kind": "all", "value": ""}, {(7, READER), (7, WRITER), (8, READER)}),
        ("link_remove", {"user_id": 7}, {(7, READER), (7, WRITER)}),
        ("pins_free", {"user_id": 8}, {(8, READER)}),
        ("undeny", {"kind": "all", "value": ""}, set()),
    ],
)
async def test_an_administrator_ends_them(
    company: Company, minter: Minter, verb: str, params: Row, ended: set[tuple[int, str]]
) -> None:
    await in_session(company)
    other, theirs = await company.signed_in("maintainer")
    assert (await pull(other, theirs))[0] == 200
    async with ending(company):
        await company.issuer.desk().act(verb, params)
        await until(lambda: len(company.events("order_ended")) == len(ended))
    assert {(e.user_id, e.scope) for e in rows(company) if e.state == "ended"} == ended
    assert len(minter.living) == 3 - len(ended)


async def test_a_minter_that_is_down_is_told_again_with_longer_pauses(
    company: Company, minter: Minter, caplog: pytest.LogCaptureFixture
) -> None:
    await held(company)
    await company.issuer.desk().act("deny", {"kind": "all", "value": ""})
    minter.down = 503
    pauses = []
    with caplog.at_level(logging.WARNING):
        for tries in range(1, 9):
            pauses.append(await company.issuer.minting.once())
            assert await company.issuer.minting.once() == pauses[-1], "not due yet"
            assert len(minter.told(Act.END)) == tries
            company.clock.pass_(pauses[-1])
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert f"the deploy token of order {minter.asked[0].id} is not ended yet (127.0.0.1:" in caplog.text
    minter.down = None
    assert await company.issuer.minting.once() == minting.LOOK_AGAIN
    assert (minter.living, company.issuer.minting._tries) == ({}, {})
    assert await company.issuer.minting.once() == minting.LOOK_AGAIN
    assert len(minter.told(Act.END)) == 9


async def test_a_clock_that_is_set_back_puts_nothing_off(company: Company, minter: Minter) -> None:
    await held(company)
    await company.issuer.desk().act("deny", {"kind": "all", "value": ""})
    minter.down = 503
    await company.issuer.minting.once()
    company.clock.pass_(-1800)
    minter.down = None
    await company.issuer.minting.once()
    assert minter.living == {}


async def test_the_loop_tries_again_by_itself(
    company: Company, minter: Minter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minting, "LOOK_AGAIN", 0.01)
    await held(company)
    minter.down = 503
    async with ending(company):
        await company.issuer.desk().act("deny", {"kind": "all", "value": ""})
        await until(lambda: minter.told(Act.END) and company.issuer.minting._tries)  # its no has come back too
        minter.down = None
        company.clock.pass_(60)
        company.issuer.minting.look()
        await until(lambda: not minter.living)


async def test_what_cannot_be_read_is_told_and_looked_at_again(
    company: Company, caplog: pytest.LogCaptureFixture
) -> None:
    company.issuer.state._reader.close()
    with caplog.at_level(logging.WARNING):
        assert await company.issuer.minting.once() == minting.LOOK_AGAIN
    assert "what must end cannot be ended now (" in caplog.text


# --- giving back ------------------------------------------------------------------------------------------------------


def state_of(company: Company) -> Entry:
    (entry,) = rows(company)
    return entry


async def test_its_holder_gives_a_token_back(company: Company, minter: Minter) -> None:
    laptop, _, body = await held(company)
    async with ending(company):
        assert await laptop.revoke(body["access_token"], token_type_hint="access_token") == (200, b"")
        await until(lambda: not minter.living)
    (event,) = company.events("revoked")
    assert (event["order"], event["user_id"], state_of(company).cause) == (minter.asked[0].id, 7, "revoked")
    assert await laptop.revoke(body["access_token"]) == (200, b"")
    assert len(company.events("revoked")) == 1


async def test_a_token_that_has_ended_by_itself_is_left_alone(company: Company) -> None:
    laptop, _, body = await held(company)
    company.clock.pass_(3600)
    assert await laptop.revoke(body["access_token"]) == (200, b"")
    assert (company.events("revoked"), state_of(company).state) == ([], "out")


async def test_another_key_ends_nothing_and_hears_the_same(company: Company, minter: Minter) -> None:
    _, token, body = await held(company)
    thief, _ = await company.signed_in("maintainer")
    assert await thief.revoke(body["access_token"]) == (200, b"")
    assert await thief.revoke("gldt-unknown") == (200, b"")
    assert await thief.revoke(token) == (200, b"")
    assert (company.events("revoked"), state_of(company).state, len(minter.living)) == ([], "out", 1)


async def test_it_counts_after_the_sign_in_is_over(company: Company, minter: Minter) -> None:
    laptop, _, body = await held(company)
    company.gitlab.one["users/7"]["state"] = "blocked"
    company.clock.pass_(1200)
    assert await laptop.revoke(body["access_token"]) == (200, b"")
    await company.issuer.minting.once()
    assert minter.living == {}


async def test_a_proof_counts_once_and_for_this_place_alone(company: Company) -> None:
    laptop, token, first = await held(company)
    _, second = await pull(laptop, token, audience="code")
    proof = laptop.proof("POST", "/revoke")
    assert (await laptop.revoke(first["access_token"], proof=proof))[0] == 200
    for bad in (proof, laptop.proof("POST", "/token"), laptop.proof("GET", "/revoke"), "x"):
        status, said = await laptop.revoke(second["access_token"], proof=bad)
        assert (status, b'"error": "invalid_dpop_proof"' in said) == (400, True)
    assert len(company.events("revoked")) == 1


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"token": ""}, b"token is missing"),
        ({"token": "x" * 16_385}, b"parameter 'token' is longer than 16384 characters"),
        ({"force": "yes"}, b"unknown parameter 'force'"),
    ],
)
async def test_a_bad_form_is_named(company: Company, form: dict[str, str], said: bytes) -> None:
    laptop = company.laptop()
    status, body = await laptop.revoke(form.pop("token", "gldt-x"), **form)
    assert (status, said in body) == (400, True)


async def test_a_body_that_is_no_form_or_names_it_twice_is_refused(company: Company) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for kind, body in ((headers, b"token=a&token=b"), (headers, b"%"), ({"Content-Type": "text/plain"}, b"token=a")):
        async with company.session.post(company.wire + "/revoke", data=body, headers=kind) as answer:
            assert (answer.status, (await answer.json())["error"]) == (400, "invalid_request")
    async with company.session.post(company.wire + "/revoke", data=b"x" * 40_000, headers=headers) as answer:
        assert answer.status == 413


async def test_who_guesses_is_counted_and_the_trail_stays_clean(company: Company) -> None:
    stranger = company.laptop()
    answers = [(await stranger.revoke(f"gldt-{number}"))[0] for number in range(121)]
    assert (answers[:120], answers[120]) == ([200] * 120, 429)
    assert company.events("revoked") == []
    laptop, _, body = await held(company)
    assert await laptop.revoke(body["access_token"]) == (200, b""), "who holds one is shut out by nobody"


async def test_the_metadata_name_the_endpoint(company: Company) -> None:
    async with company.session.get(company.wire + "/.well-known/oauth-authorization-server") as answer:
        document = await answer.json()
    assert document["revocation_endpoint"] == f"{company.url}/revoke"
    assert document["revocation_endpoint_auth_methods_supported"] == ["none"]


# --- secrets ----------------------------------------------------------------------------------------------------------


async def test_no_secret_is_written_anywhere(
    company: Company, minter: Minter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    laptop, token, body = await held(company)
    minter.faults.append(changed(order="another"))
    await pull(laptop, token, audience="code")
    minter.down = 500
    assert (await laptop.revoke(body["access_token"]))[0] == 200
    await company.issuer.minting.once()
    minter.down = None
    company.clock.pass_(1)
    await company.issuer.minting.once()
    assert minter.living == {}
    assert len(minter.secrets) == 2
    files = [path for path in company.folder.rglob("*") if path.is_file()]
    assert any(path.name == "state.db-wal" for path in files)
    for secret in minter.secrets:
        assert secret not in caplog.text
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
