"""Control requests: the verbs of the command line, as JSON lines."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from juniperd.errors import ProtocolError
from juniperd.protocols import control
from juniperd.protocols.control import ControlRequest
from juniperd.wire import Request

from .harness import Running, speak, speak_bytes, until

values = st.none() | st.booleans() | st.integers() | st.text()


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.dictionaries(st.text(), values))
def test_what_the_command_line_says_arrives(verb: str, parameters: dict[str, object]) -> None:
    asked = control.parse(Request((b"juniper", verb.encode(), json.dumps(parameters).encode())))
    assert (asked.verb, dict(asked.parameters)) == (verb, parameters)


@given(st.dictionaries(st.text(), values))
def test_an_event_is_one_line_that_reads_back(event: dict[str, object]) -> None:
    line = control.render_event(event)
    assert line.count(b"\n") == 1
    assert json.loads(line) == event


@pytest.mark.parametrize("arguments", [(), ("status", "[]"), ("status", "{"), ("status", "{}", "x"), ("a", '"x"')])
def test_anything_else_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ProtocolError):
        control.parse(Request((b"juniper", *(a.encode() for a in arguments))))


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", r'{"scope": "\ud800"}'),
        ("explain", r'{"\udfff": 1}'),
        ("explain", b'{"scope": "\xed\xa0\x80"}'),
        ("login", b'{"issuer": "\xff"}'),
        (b"\xff", "{}"),
    ],
)
async def test_half_a_character_is_refused_like_any_other_bad_request(
    running: Running, arguments: tuple[str | bytes, ...]
) -> None:
    argv = tuple(a if isinstance(a, bytes) else a.encode() for a in ("juniper", *arguments))
    answer = await speak_bytes(running.path, *argv)
    assert answer.status == ProtocolError.exit_status
    assert answer.stderr.startswith(b"juniper: the parameters of a control request are one JSON object; ")


async def test_those_who_wait_for_a_person_leave_room_for_tools(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("juniperd.verbs.MOST_LOGINS", 3)
    running.world.idp.approve = "authorization_pending"
    waiting = [asyncio.create_task(running.control("login")) for _ in range(3)]
    await until(lambda: running.world.idp.calls["/token"] >= 2)
    late = await running.control("login")
    assert (late.status, late.stdout) == (77, b"")
    assert late.stderr.startswith(b"juniper: 3 callers wait for a sign-in already; ")
    assert (await running.control("status")).status == 0
    running.world.idp.approve = None
    assert {answer.status for answer in await asyncio.gather(*waiting)} == {0}
    await running.login()


async def test_status_before_and_after(running: Running) -> None:
    before: Any = (await running.control("status")).events[-1]
    assert before["sign_in"]["state"] == "signed-out"
    assert (before["leases"], before["sessions"]) == ([], [])
    assert before["agent"]["store"]["note"] == "sign-ins are kept in memory only, as configured"
    await running.login()
    await running.aws()
    after: Any = (await running.control("status")).events[-1]
    assert after["sign_in"] == {
        "issuer": "team",
        "state": "signed-in",
        "identity": "okta",
        "person": "developer",
        "user": {"id": "7", "login": "developer"},
        "bound": False,
        "ends_at": "2027-01-15T20:00:00Z",
        "ends_by": "sign_in_max_age",
        "seconds_left": 43200,
        "warning": None,
        "reason": None,
        "gitlab": None,
    }
    (lease,) = after["leases"]
    assert (lease["scope"], lease["state"], lease["seconds_left"]) == ("invoice-archive-writer", "fresh", 3600)
    assert after["agent"]["guard_note"] == "the issuer runs as the same user as the agent: a guard rail, not a control"


async def test_the_catalogue_by_issuer(running: Running) -> None:
    await running.login()
    answer: Any = (await running.control("catalogue")).events[-1]
    assert answer["issuers"]["team"]["scopes"][0]["name"] == "invoice-archive-writer"
    assert (await running.control("catalogue", issuer="nobody")).status == 78


async def test_explain_takes_issuer_and_scope_in_one(running: Running) -> None:
    await running.login()
    answer: Any = (await running.control("explain", scope="team/archive", ref="branch:main")).events[-1]
    assert (answer["issuer"], answer["scope"], answer["verdict"]) == ("team", "archive", "permitted")
    assert (await running.control("explain")).stderr.startswith(b"juniper: parameter 'scope' of explain is missing")


async def test_a_verb_of_another_release(running: Running) -> None:
    answer = await speak(running.path, "juniper", "teleport")
    assert answer.stderr.startswith(b"juniper: this agent knows no 'teleport'; ")
    assert (await running.control("login", issuer=7)).status == 76


async def test_a_clock_that_is_off_is_in_status_with_its_seconds(running: Running) -> None:
    running.world.idp.date_offset = running.world.issuer.date_offset = 300
    answer = await running.control("login")
    assert b"(this machine's clock is 300 s behind the servers'); set this machine's clock" in answer.stderr
    status: Any = (await running.control("status")).events[-1]
    assert status["agent"]["clock_skew"] in {-300, -301}
    assert "s behind the servers'" in status["agent"]["clock_note"]


@pytest.mark.parametrize("value", ["x", [1], {"a": 1}, 7, True])
def test_a_list_of_texts_is_one_or_refused(value: object) -> None:
    with pytest.raises(ProtocolError, match="parameter 'scopes' of session_open is not a list of texts"):
        ControlRequest("session_open", {"scopes": value}).texts("scopes")


def test_a_list_of_texts_may_be_left_out() -> None:
    assert ControlRequest("session_open").texts("scopes") == []
    assert ControlRequest("session_open", {"scopes": ["a", "b"]}).texts("scopes") == ["a", "b"]


@pytest.mark.parametrize("value", [None, 0, -1, "60", 1.5, True, []])
def test_seconds_are_a_whole_number_above_nothing(value: object) -> None:
    with pytest.raises(ProtocolError, match="parameter 'seconds' of session_open is not a number of seconds"):
        ControlRequest("session_open", {"seconds": value}).seconds("seconds")
    assert ControlRequest("session_open", {"seconds": 60}).seconds("seconds") == 60
