"""A debugging session on a laptop: its socket wakes what sleeps, within its scopes and its time, and then is gone."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from juniperd.errors import IssuerUnreachable
from juniperd.issuer_client import IssuerClient
from juniperd.model import rfc3339
from tests.agent.harness import until

from .whole import SCOPE, Whole

JANITOR = "invoice-archive-janitor"
READER = "invoice-archive-reader"
ELSEWHERE = "ledger-journal-reader"
AGAIN = "run: juniper session open shop/billing --env staging"


async def statuses(inside: Whole) -> Any:
    return (await inside.control("status")).result


def lies(socket: object) -> bool:
    return os.path.lexists(str(socket))


async def ended(inside: Whole, socket: object) -> None:
    """Until the socket is gone; what is waited for is the agent's own work in this loop."""
    await until(lambda: not lies(socket))
    assert (await statuses(inside))["sessions"] == []


async def test_the_main_socket_never_serves_what_sleeps_session_open_or_not(inside: Whole) -> None:
    for _ in range(2):
        asleep = await inside.mint(JANITOR)
        assert (asleep.status, asleep.stdout) == (77, b"")
        assert asleep.line == (
            f"juniper-aws: scope '{JANITOR}' is refused: the scope sleeps until a debugging session wakes it "
            f"({inside.last_decision()['id']}); {AGAIN}"
        )
        await inside.open_session()


async def test_a_session_has_a_socket_of_its_own_that_serves_its_scopes(inside: Whole) -> None:
    opened = await inside.open_session(reason="invoices stuck")
    others = ["billing-debugger", "billing-batch-inspector", "billing-api-reader"]
    others += ["billing-image-reader", "billing-source-reader", "invoice-export-google"]
    assert opened["scopes"] == [SCOPE, READER, JANITOR, *others]
    refused: Any = opened["refused"]
    assert [row["scope"] for row in refused] == ["billing-release-publisher"]
    socket = Path(str(opened["socket"]))
    assert socket.parent == inside.socket.parent
    assert stat.S_IMODE(os.lstat(socket).st_mode) == 0o600
    for scope in (JANITOR, SCOPE):
        assert (await inside.aws_at(socket, scope)).status == 0
        assert inside.last_decision()["session"] == opened["id"]
    shown = await statuses(inside)
    assert [row["id"] for row in shown["sessions"]] == [opened["id"]]
    assert {(row["scope"], row["session"]) for row in shown["leases"]} == {
        (JANITOR, opened["id"]),
        (SCOPE, opened["id"]),
    }
    (event,) = inside.events("session_opened")
    assert event["claimed_reason"] == "invoices stuck"


async def test_a_lease_of_a_session_and_one_outside_are_two(inside: Whole) -> None:
    opened = await inside.open_session()
    outside = await inside.aws()
    within = await inside.aws_at(opened["socket"])
    assert outside.stdout != within.stdout
    assert (await inside.aws()).stdout == outside.stdout
    assert (await inside.aws_at(opened["socket"])).stdout == within.stdout


async def test_two_sessions_do_not_mix(inside: Whole) -> None:
    first = await inside.open_session(scopes=[JANITOR])
    second = await inside.open_session(scopes=[SCOPE])
    wrong = await inside.aws_at(second["socket"], JANITOR)
    assert (wrong.status, wrong.line) == (
        78,
        f"juniper-aws: scope '{JANITOR}' is not of this session, which has {SCOPE}; {AGAIN} --scope {JANITOR}",
    )
    assert (await inside.aws_at(first["socket"], JANITOR)).status == 0
    vague = await inside.control("session_extend", seconds=60)
    assert (vague.status, vague.line) == (
        78,
        "juniper: several sessions are open on this laptop; name one; run: juniper session list",
    )
    await inside.control("session_close", session=first["id"])
    assert [row["id"] for row in (await statuses(inside))["sessions"]] == [second["id"]]


@pytest.mark.parametrize("scope", [ELSEWHERE, "no-such-scope"])
async def test_a_scope_that_is_not_of_the_session_is_not_asked_for(inside: Whole, scope: str) -> None:
    opened = await inside.open_session()
    before = len(inside.events("decision"))
    assert (await inside.aws_at(opened["socket"], scope)).status == 78
    assert len(inside.events("decision")) == before


async def test_a_session_socket_answers_no_control_request(inside: Whole) -> None:
    opened = await inside.open_session()
    for verb in ("status", "session_close", "down"):
        answer = await inside._speak("juniper", verb, "{}", socket=Path(str(opened["socket"])))
        assert answer.status == 76
        assert answer.line.startswith("juniper: a session's socket answers tools alone; ")
    assert (await inside.aws_at(opened["socket"], JANITOR)).status == 0


async def test_it_ends_by_its_time_and_takes_its_credentials_along(inside: Whole) -> None:
    opened = await inside.open_session(seconds=600)
    assert (await inside.aws_at(opened["socket"], JANITOR)).status == 0
    inside.clock.pass_by(601)
    late = await inside.aws_at(opened["socket"], JANITOR)
    assert (late.status, late.line) == (77, f"juniper-aws: the debugging session has ended; {AGAIN}")
    extending = await inside.control("session_extend", session=opened["id"], seconds=600)
    assert extending.status == 77
    assert "the session has ended" in extending.line
    await inside.issuer.sweep.once()
    (event,) = inside.events("session_ended")
    assert (event["session"], event["cause"]) == (opened["id"], "time")


async def test_the_agent_notices_the_end_without_being_asked(inside: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("juniperd.sessions.LOOK_AGAIN", 0.01)
    opened = await inside.open_session(seconds=600)
    assert (await inside.aws_at(opened["socket"], JANITOR)).status == 0
    inside.clock.pass_by(601)
    await ended(inside, opened["socket"])
    assert (await statuses(inside))["leases"] == []


async def test_extending_moves_the_end_here_and_at_the_issuer(inside: Whole) -> None:
    opened = await inside.open_session(seconds=600)
    extended = (await inside.control("session_extend", seconds=1200)).result
    assert extended["ends_at"] == rfc3339(int(inside.clock.now) + 1800)
    inside.clock.pass_by(1700)
    assert (await inside.aws_at(opened["socket"], JANITOR)).status == 0


async def test_closing_ends_it_here_and_at_the_issuer(inside: Whole) -> None:
    opened = await inside.open_session()
    assert (await inside.aws_at(opened["socket"], JANITOR)).status == 0
    closed = await inside.control("session_close", session=opened["socket"])
    assert closed.result["id"] == opened["id"]
    assert not lies(opened["socket"])
    shown = await statuses(inside)
    assert (shown["sessions"], shown["leases"]) == ([], [])
    (event,) = inside.events("session_ended")
    assert event["cause"] == "closed"
    again = await inside.control("session_close", session=opened["socket"])
    assert (again.status, again.line) == (77, "juniper: the debugging session has ended; run: juniper session list")


async def test_an_end_at_the_issuer_is_an_end_here(inside: Whole) -> None:
    opened = await inside.open_session()
    await inside.issuer.desk().act("link_remove", {"user_id": 7})
    refused = await inside.aws_at(opened["socket"], JANITOR)
    assert (refused.status, refused.stdout) == (77, b"")
    assert "the session has ended" in refused.line
    await ended(inside, opened["socket"])


async def test_it_ends_with_the_sign_in(inside: Whole) -> None:
    opened = await inside.open_session()
    assert (await inside.aws_at(opened["socket"], JANITOR)).status == 0
    assert (await inside.control("logout")).status == 0
    await ended(inside, opened["socket"])
    (event,) = inside.events("session_ended")
    assert event["cause"] == "signed_out"


async def test_an_agent_that_goes_down_tells_the_issuer(inside: Whole) -> None:
    opened = await inside.open_session()
    assert (await inside.control("down")).status == 0
    await until(lambda: inside.events("session_ended"))
    (event,) = inside.events("session_ended")
    assert (event["session"], event["cause"]) == (opened["id"], "closed")
    await until(lambda: not lies(opened["socket"]))


async def test_listing_names_what_is_open_and_where(inside: Whole) -> None:
    opened = await inside.open_session(scopes=[JANITOR])
    rows: Any = (await inside.control("session_list")).result["sessions"]
    assert rows == [
        {
            "id": opened["id"],
            "project": "shop/billing",
            "environment": "staging",
            "ref": None,
            "scopes": [JANITOR],
            "ends_at": opened["ends_at"],
            "socket": opened["socket"],
        }
    ]


async def test_where_nobody_is_signed_in_there_is_no_session(inside: Whole) -> None:
    await inside.control("logout")
    answer = await inside.control("session_open", project="shop/billing", environment="staging", seconds=60)
    assert (answer.status, answer.line) == (77, "juniper: nobody is signed in; run: juniper login")


async def test_a_credential_in_the_air_for_a_session_that_ends_lands_nowhere(inside: Whole) -> None:
    opened = await inside.open_session()
    inside.drill("sts", "slow", "300")
    asking = asyncio.create_task(inside.aws_at(opened["socket"], JANITOR))
    await until(lambda: inside.events("decision"))
    await inside.control("session_close", session=opened["id"])
    answer = await asking
    assert (answer.status, answer.stdout) == (77, b"")
    assert answer.line.startswith("juniper-aws: the debugging session ended while the credential was on its way; ")
    assert (await statuses(inside))["leases"] == []


async def test_a_socket_that_cannot_be_made_leaves_no_session_open(
    inside: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("juniperd.door.MAX_PATH", 10)
    answer = await inside.control("session_open", project="shop/billing", environment="staging", seconds=60)
    assert (answer.status, answer.line) == (
        78,
        "juniper: the session's socket would have a path longer than 10 bytes; set JUNIPER_SOCKET to a shorter path, then run: juniper down; juniper up",
    )
    (event,) = inside.events("session_ended")
    assert event["cause"] == "closed"


@pytest.mark.parametrize(
    "wrong",
    [{"seconds": 0}, {"seconds": "60"}, {"scopes": "x"}, {"scopes": [1]}, {"project": ""}, {"environment": None}],
)
async def test_parameters_that_are_none_are_refused(inside: Whole, wrong: dict[str, object]) -> None:
    asked: dict[str, object] = {"project": "shop/billing", "environment": "staging", "seconds": 60, **wrong}
    assert (await inside.control("session_open", **asked)).status == 76


async def test_an_upgraded_agent_does_not_give_way_while_a_session_is_open(inside: Whole) -> None:
    await inside.open_session()
    assert await inside.agent._would_lose() == "a debugging session is open; it gives way when that has ended"


async def test_a_lock_ends_it_and_tells_the_issuer(inside: Whole) -> None:
    opened = await inside.open_session()
    assert (await inside.aws_at(opened["socket"], JANITOR)).status == 0
    assert (await inside.control("lock")).status == 0
    await ended(inside, opened["socket"])
    (event,) = inside.events("session_ended")
    assert (event["session"], event["cause"]) == (opened["id"], "closed")


async def test_an_upgraded_agent_does_not_give_way_while_it_is_locked(inside: Whole) -> None:
    await inside.control("lock")
    assert await inside.agent._would_lose() == "a sign-in is locked; it gives way once it is unlocked"


async def test_a_lock_that_comes_while_a_session_is_opened_leaves_none(inside: Whole) -> None:
    # What is fetched ahead asks GitLab too, and is not what is waited for below.
    await asyncio.gather(*inside.agent._ahead.values())
    inside.clock.pass_by(61)
    inside.drill("gitlab", "slow", "300")
    opening = asyncio.create_task(
        inside.control("session_open", project="shop/billing", environment="staging", seconds=600)
    )
    await until(lambda: inside.issuer.gitlab._flights)
    assert (await inside.control("lock")).status == 0
    answer = await opening
    assert (answer.status, answer.line) == (
        77,
        f"juniper: the sign-in was locked or changed while the session was opened; {AGAIN}",
    )
    assert (await statuses(inside))["sessions"] == []
    assert [event["cause"] for event in inside.events("session_ended")] == ["closed"]


async def test_a_socket_that_fails_in_any_way_leaves_no_session_open(
    inside: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_descriptors(_path: Path) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("juniperd.door.open_session_door", out_of_descriptors)
    answer = await inside.control("session_open", project="shop/billing", environment="staging", seconds=60)
    assert answer.status != 0
    (event,) = inside.events("session_ended")
    assert event["cause"] == "closed"


async def test_what_stopped_a_session_is_told_where_the_issuer_cannot_be_told(
    inside: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_gone(*_told: object) -> None:
        raise IssuerUnreachable("the issuer does not answer")

    monkeypatch.setattr("juniperd.door.MAX_PATH", 10)
    monkeypatch.setattr(IssuerClient, "close_session", is_gone)
    answer = await inside.control("session_open", project="shop/billing", environment="staging", seconds=60)
    assert answer.line.startswith("juniper: the session's socket would have a path longer than 10 bytes; ")


async def test_another_issuer_is_not_of_the_session(inside: Whole) -> None:
    opened = await inside.open_session()
    told = await inside._speak(
        "juniper-aws", "--scope", SCOPE, "--issuer", "elsewhere", socket=Path(str(opened["socket"]))
    )
    assert (told.status, told.line) == (
        78,
        "juniper-aws: this session is at issuer 'sandbox', not at 'elsewhere'; leave the session; run: unset JUNIPER_SESSION_SOCKET",
    )


async def test_a_session_opened_while_the_keyring_is_asked_keeps_the_agent(
    inside: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgraded agent asks the keyring before it gives way, and what came meanwhile counts."""

    async def meanwhile(_url: str) -> bool:
        await inside.open_session()
        return True

    monkeypatch.setattr(inside.agent.store, "rests", meanwhile)
    assert await inside.agent._would_lose() == "a debugging session is open; it gives way when that has ended"
