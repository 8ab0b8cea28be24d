"""The trail: a chain that shows edits, and an issuer that gives nothing out when it cannot write."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from juniperd.errors import StateError
from juniperd.issuer import app as issuer_app
from juniperd.issuer import audit, commands, heads
from juniperd.issuer.audit import GENESIS, Head
from juniperd.issuer.state import State, connect
from tests.issuer.doubles import NOW, Company, open_company, user


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


def test_a_trail_rewritten_from_its_second_record_on_shows(trail: sqlite3.Connection) -> None:
    known = audit.head(trail)
    last = Head(1, trail.execute("SELECT hash FROM audit WHERE seq = 1").fetchone()[0])
    for seq, body in trail.execute("SELECT seq, body FROM audit WHERE seq > 1 ORDER BY seq").fetchall():
        text = json.dumps(json.loads(body) | {"prev": last.hash, "user_id": 99})
        last = Head(seq, hashlib.sha256(text.encode()).hexdigest())
        trail.execute("UPDATE audit SET body = ?, hash = ? WHERE seq = ?", (text, last.hash, seq))
    assert audit.verify(trail)[1] is None
    for flaw in (audit.verify(trail, known)[1], audit.lacks(trail, known)):
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


# --- the head beside the data base ------------------------------------------------------------------------------------


def shortened(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "state" / "state.db")) as connection:
        connection.execute("DROP TRIGGER audit_keeps")
        connection.execute("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)")
        connection.commit()


@pytest.mark.parametrize("grown", [False, True])
async def test_no_issuer_starts_on_a_shortened_trail(tmp_path: Path, grown: bool) -> None:
    async with open_company(tmp_path) as company:
        await company.signed_in()
        issuer_app._tell_head(company.issuer)
    shortened(tmp_path)
    path = tmp_path / "issuer.toml"
    if grown:
        assert (await asyncio.to_thread(commands.deny, path, user=7)).exit == 0
    with pytest.raises(StateError, match=r"which was told outside|whose hash was told outside") as caught:
        async with open_company(tmp_path):
            pytest.fail("it started")
    assert caught.value.remedy.endswith("then put the whole trail back, or delete " + str(tmp_path / "state" / "head"))
    assert commands.audit_verify(path).exit == StateError.exit_status


async def test_a_whole_trail_starts_again(tmp_path: Path) -> None:
    for _ in range(2):
        async with open_company(tmp_path) as company:
            issuer_app._tell_head(company.issuer)
    found = commands.audit_verify(tmp_path / "issuer.toml")
    assert found.exit == 0
    assert "no head" not in found.text
    assert not (tmp_path / "state" / "head.new").exists()


async def test_a_head_that_is_gone_is_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_company(tmp_path) as company:
        await company.signed_in()
    assert "compared with no head" not in caplog.text
    found = commands.audit_verify(tmp_path / "issuer.toml")
    assert (found.exit, found.text.endswith("there was no head to compare with, so the end may have been cut off")) == (
        0,
        True,
    )
    async with open_company(tmp_path):
        pass
    assert "compared with no head" in caplog.text


@pytest.mark.parametrize("text", ["", "nonsense", "\x00"])
async def test_a_head_that_is_damaged_is_said_to_be(tmp_path: Path, text: str) -> None:
    async with open_company(tmp_path):
        pass
    (tmp_path / "state" / "head").write_text(text)
    found = commands.audit_verify(tmp_path / "issuer.toml")
    assert found.exit == StateError.exit_status
    assert "holds no head of the trail; delete it" in found.text
    with pytest.raises(StateError, match="holds no head"):
        async with open_company(tmp_path):
            pytest.fail("it started")


async def test_a_full_disk_does_not_end_the_issuer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relying parties still need discovery and keys; minting stops by itself."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with open_company(tmp_path) as company:
        issuer_app._tell_head(company.issuer)
        before = heads.read(tmp_path / "state")
        await company.signed_in()
        monkeypatch.setattr("os.fsync", full)
        issuer_app._tell_head(company.issuer)
        assert heads.read(tmp_path / "state") == before


async def test_a_proof_of_the_reader_that_cannot_be_recorded_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    async def broken(*_: object) -> None:
        tried.set()
        raise StateError("the disk is full", "make room")

    async with open_company(tmp_path) as company:
        monkeypatch.setattr(issuer_app.Issuer, "record", broken)
        company.gitlab.one["user"] = {"id": 1, "is_admin": False}
        company.gitlab.one["personal_access_tokens/self"] = {"scopes": ["read_api"], "expires_at": "2030-01-01"}
        task = asyncio.create_task(issuer_app._keep_proving(company.issuer))
        async with asyncio.timeout(20):
            await tried.wait()
            tried.clear()
            company.issuer.reloaded.set()
            await tried.wait()
        assert company.issuer.in_force.blind == {42}
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


# --- what others wrote ------------------------------------------------------------------------------------------------

FORGED = "x\n2026-09-21T14:13:20Z\tdecision\tpermitted"


def shown(company: Company, *, as_json: bool) -> str:
    out = io.StringIO()
    assert commands.audit_tail(company.issuer.config.path, as_json=as_json, out=out) == 0
    return out.getvalue()


def fit_for_a_terminal(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("text", ["\x1b[2J\x1b]0;owned\x07", "\x9b31m", FORGED, "a\u2028b", "\u202egnp"])
@pytest.mark.parametrize("where", ["scope", "audience", "environment", "ref"])
async def test_what_a_request_says_is_no_terminal_command(
    tmp_path: Path,
    where: str,
    text: str,
    as_json: bool,
) -> None:
    """An outsider's request reaches ``juniper audit tail`` of an administrator."""
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in("outsider")
        before = shown(company, as_json=as_json)
        await laptop.token(token, **{where: text})
        fresh = shown(company, as_json=as_json)[len(before) :]
        assert fresh.count("\n") == 1
        assert fit_for_a_terminal(fresh), ascii(fresh)
        assert fit_for_a_terminal(company.issuer.state.read(lambda c: list(c.execute("SELECT body FROM audit"))[-1][0]))


@pytest.mark.parametrize("as_json", [False, True])
async def test_what_gitlab_and_a_provider_say_is_no_terminal_command(
    tmp_path: Path,
    as_json: bool,
) -> None:
    async with open_company(tmp_path) as company:
        company.gitlab.one["users/7"] = user(7, "developer") | {"username": "dev\x1b[2J\nforged"}
        laptop = company.laptop()
        token = company.idp.token("developer", sid="s\x1b[2J")
        await laptop.sign_in(token)
        await laptop.token(token)
        text = shown(company, as_json=as_json)
        assert "sign_in" in text
        assert fit_for_a_terminal(text), ascii(text)


def test_what_was_written_before_is_shown_fit_for_a_terminal() -> None:
    """A record older than the rule that kept control characters out."""
    record = {"time": "t", "event": "decision", "verdict": "refused", "scope": "a\x1b[2J b", "relying_party": "x id y"}
    text = commands.line(record | {"rule": "1", "reason": "r", "id": "n", "user_id": 7, "user_login": "dev\nforged"})
    assert text == 't decision refused "7-dev forged" "a [2J b" at "x id y" rule 1: r id n'


async def test_half_a_character_from_outside_is_a_decision_with_its_record(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in("developer")
        company.issuer.gitlab.forget()
        company.gitlab.one["users/7"] = user(7, "developer") | {"state": "\ud800"}
        status, body = await laptop.token(token)
        assert (status, body["error"]) == (403, "access_denied")
        assert len(company.events()) == 1


def test_a_line_tells_a_job_from_a_person_and_yes_as_json_does() -> None:
    said = {"verdict": "permitted", "user_id": 8, "user_login": "maintainer", "scope": "writer", "relying_party": "aws"}
    head = {"seq": 1, "time": "2026-09-21T10:00:00Z"}
    job = head | {"event": "decision", "origin": "pipeline", "subject": "42/900", "id": "n", **said}
    assert commands.line(job).endswith("decision permitted 8-maintainer writer at aws job 42/900 id n")
    assert "job" not in commands.line(job | {"origin": "laptop", "subject": "u-maintainer"})
    assert commands.line(head | {"event": "parity", "within": True, "job": None}).endswith("parity within=true")
