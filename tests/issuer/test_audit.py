"""The trail: a chain that shows edits, and an issuer that gives nothing out when it cannot write."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from juniperd.errors import StateError
from juniperd.issuer import audit, commands
from juniperd.issuer.audit import GENESIS, Head
from juniperd.issuer.state import State, connect
from tests.issuer.doubles import NOW, open_company


@pytest.fixture
def trail(tmp_path: Path) -> sqlite3.Connection:
    """Five records in a data base of its own, with nothing in the way of a tamperer."""
    with closing(State(tmp_path / "state")):
        connection = connect(tmp_path / "state")
    connection.execute("DROP TRIGGER audit_stays")
    connection.execute("DROP TRIGGER audit_keeps")
    for number in range(5):
        audit.append(connection, "decision", at=NOW + number, fields={"verdict": "permitted", "n": number})
    return connection


def test_a_whole_chain_verifies(trail: sqlite3.Connection) -> None:
    head, flaw = audit.verify(trail)
    assert (head, flaw) == (audit.head(trail), None)
    assert head.seq == 5
    first, *_ = audit.records(trail)
    assert first["prev"] == GENESIS
    assert list(first) == ["seq", "time", "event", "verdict", "n", "prev", "hash"]


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE audit SET body = replace(body, 'permitted', 'refused') WHERE seq = 3", 3),
        ("UPDATE audit SET hash = 'x' WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 4", 4),
        (
            "UPDATE audit SET seq = 9 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 9",
            2,
        ),
        ("INSERT INTO audit VALUES (6, 'x', '{}')", 6),
    ],
)
def test_an_edit_names_the_first_bad_record(trail: sqlite3.Connection, statement: str, seq: int) -> None:
    trail.executescript(statement)
    _, flaw = audit.verify(trail)
    assert flaw is not None
    assert flaw.seq == seq


def test_a_record_rewritten_with_its_hash_breaks_the_next(trail: sqlite3.Connection) -> None:
    (body,) = trail.execute("SELECT body FROM audit WHERE seq = 3").fetchone()
    forged = body.replace("permitted", "refused")
    digest = __import__("hashlib").sha256(forged.encode()).hexdigest()
    trail.execute("UPDATE audit SET body = ?, hash = ? WHERE seq = 3", (forged, digest))
    _, flaw = audit.verify(trail)
    assert flaw is not None
    assert flaw.seq == 4


def test_a_trail_cut_short_or_rebuilt_shows_against_a_head_told_outside(trail: sqlite3.Connection) -> None:
    known = audit.head(trail)
    trail.execute("DELETE FROM audit WHERE seq = 5")
    assert audit.verify(trail)[1] is None
    _, flaw = audit.verify(trail, known)
    assert flaw is not None
    assert flaw.seq == 5
    audit.append(trail, "decision", at=NOW, fields={"verdict": "refused"})
    _, flaw = audit.verify(trail, known)
    assert flaw is not None
    assert flaw.seq == 5


def test_the_data_base_itself_refuses_to_change_a_record(tmp_path: Path) -> None:
    with closing(State(tmp_path / "state")):
        connection = connect(tmp_path / "state")
    audit.append(connection, "policy", at=NOW, fields={})
    for statement in ("DELETE FROM audit", "UPDATE audit SET body = '{}'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)


def test_a_head_survives_being_told() -> None:
    assert Head.parse(str(Head(7, "ab"))) == Head(7, "ab")


async def test_an_unwritable_trail_stops_issuance(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in()
        blocker = sqlite3.connect(company.issuer.config.state / "state.db", isolation_level=None)
        company.issuer.state._writer.execute("PRAGMA busy_timeout = 10")
        blocker.execute("BEGIN IMMEDIATE")
        status, body = await laptop.token(token)
        assert (status, body["error"]) == (503, "server_error")
        assert "access_token" not in body
        blocker.execute("ROLLBACK")
        assert (await laptop.token(token))[0] == 200
        blocker.close()


async def test_counting_verdicts_counts_answers(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in()
        answers = [
            await laptop.token(token),
            await laptop.token(token, scope="release-publisher"),
            await laptop.token(token, scope="nothing"),
            await company.laptop().token(token),
        ]
        assert [status for status, _ in answers] == [200, 403, 400, 400]
        everything = company.issuer.state.read(lambda c: list(audit.records(c)))
        assert sum("verdict" in event for event in everything) == 4
        assert all(event["event"] == "decision" for event in everything if "verdict" in event)


async def test_a_decision_says_who_what_and_why(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in()
        await laptop.token(token, claimed_program="/usr/bin/aws\x1b[31m", claimed_host="laptop")
        (event,) = company.events()
        assert event["user_id"] == 7
        assert event["key"] == laptop.key.kid
        assert event["claimed_program"] == "/usr/bin/aws [31m"
        assert event["policy"] == company.issuer.in_force.policy.digest
        assert event["jti"]
        assert {"asked": "GET /projects/42", "answered": "42 shop/billing", "age": 0.0} in event["facts"]
        assert token not in json.dumps(event)


async def test_tail_prints_the_last_events_and_ends(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in()
        for _ in range(3):
            await laptop.token(token)
        path = company.issuer.config.path
        out = io.StringIO()
        assert commands.audit_tail(path, count=2, as_json=True, out=out) == 0
        lines = [json.loads(line) for line in out.getvalue().splitlines()]
        assert [line["event"] for line in lines] == ["decision", "decision"]
        out = io.StringIO()
        assert commands.audit_tail(path, out=out) == 0
        assert "decision permitted 7-developer invoice-archive-writer at aws-staging" in out.getvalue()
        assert commands.audit_verify(path).exit == 0


async def test_verify_compares_with_the_heads_told_outside(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        path = company.issuer.config.path
        found = commands.audit_verify(path, head="99:ab")
        assert found.exit == StateError.exit_status
        assert "ends before record 99" in found.text
        (company.issuer.config.state / "head").write_text("3:ab\n")
        assert "ends before record 3" in commands.audit_verify(path).text
        assert commands.audit_verify(path, head="nonsense").exit != 0
