"""Attacks on the trail, its readers and the issuer's availability."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from juniperd.issuer import app as issuer_app
from juniperd.issuer import audit, commands
from tests.issuer.doubles import Company, open_company, user


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    async with open_company(tmp_path) as opened:
        yield opened


def shown(company: Company, *, as_json: bool) -> str:
    out = io.StringIO()
    commands.audit_tail(company.folder / "issuer.toml", as_json=as_json, out=out)
    return out.getvalue()


FORGED = "x\n2026-09-21T14:13:20Z\tdecision\tpermitted"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("text", ["\x1b[2J\x1b]0;owned\x07", "\x9b31m", FORGED, "a\u2028b", "\u202egnp"])
@pytest.mark.parametrize("where", ["scope", "audience"])
async def test_what_a_request_says_is_no_terminal_command_in_the_trail(
    company: Company, where: str, text: str, as_json: bool
) -> None:
    """An outsider's request reaches ``juniper audit tail`` of an administrator."""
    laptop = company.laptop()
    token = company.idp.token("outsider")
    await laptop.sign_in(token)
    before = shown(company, as_json=as_json)
    await laptop.token(token, **{where: text})
    fresh = shown(company, as_json=as_json)[len(before) :]
    assert fresh.count("\n") == 1, fresh
    assert all(c.isprintable() or c == "\n" for c in fresh), ascii(fresh)


async def test_a_login_of_gitlab_is_no_terminal_command_in_the_trail(company: Company) -> None:
    row = user(7, "developer")
    row["username"] = "dev\x1b[2J\nforged"
    company.gitlab.one["users/7"] = row
    laptop = company.laptop()
    token = company.idp.token("developer", sid="s\x1b[2J")
    await laptop.sign_in(token)
    await laptop.token(token)
    text = shown(company, as_json=False)
    assert all(c.isprintable() or c == "\n" for c in text), ascii(text)


async def test_a_half_character_from_outside_is_a_refusal_with_its_record(company: Company) -> None:
    laptop, token = await company.signed_in("developer")
    company.issuer.gitlab.forget()
    company.gitlab.one["users/7"] = user(7, "developer") | {"state": "\ud800"}
    with contextlib.suppress(ValueError):
        status, _ = await laptop.token(token)
    assert len(company.events()) == 1, "a decision on a verified subject left no record"


async def test_two_records_cannot_be_swapped_cut_or_edited_unseen(company: Company) -> None:
    import sqlite3

    laptop, token = await company.signed_in("developer")
    for _ in range(4):
        await laptop.token(token)
    head = company.issuer.state.read(audit.head)
    rows = company.issuer.state.read(lambda c: c.execute("SELECT seq, hash, body FROM audit ORDER BY seq").fetchall())

    def verdict(changed: list[tuple[int, str, str]]) -> object:
        memory = sqlite3.connect(":memory:")
        memory.execute("CREATE TABLE audit (seq INTEGER PRIMARY KEY, hash TEXT, body TEXT)")
        memory.executemany("INSERT INTO audit VALUES (?,?,?)", changed)
        return audit.verify(memory, head)[1]

    assert verdict(rows) is None
    assert verdict(rows[:-1]) is not None
    assert verdict(rows[1:]) is not None
    a, b = rows[2], rows[3]
    assert verdict([*rows[:2], (a[0], b[1], b[2]), (b[0], a[1], a[2]), *rows[4:]]) is not None
    assert verdict([*rows[:2], (a[0], a[1], a[2].replace("permitted", "refused") + " "), *rows[3:]]) is not None
    again = [rows[0]]
    import hashlib
    import json

    for seq, _, body in rows[1:]:
        record = json.loads(body) | {"prev": again[-1][1], "user_id": 99}
        text = json.dumps(record)
        again.append((seq, hashlib.sha256(text.encode()).hexdigest(), text))
    assert verdict(again) is not None


async def test_a_full_disk_does_not_end_the_issuer(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relying parties still need discovery and keys; minting stops by itself."""
    real = Path.write_text

    def full(self: Path, *args: object, **named: object) -> int:
        if self.name == "head":
            raise OSError(28, "No space left on device")
        return real(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", full)
    issuer_app._tell_head(company.issuer)


async def test_a_proof_that_cannot_be_recorded_is_proved_again_later(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    from juniperd.errors import StateError

    async def broken(*_: object) -> None:
        raise StateError("the disk is full", "make room")

    monkeypatch.setattr(issuer_app.Issuer, "record", broken)
    company.gitlab.one["user"] = {"id": 1, "is_admin": False}
    company.gitlab.one["personal_access_tokens/self"] = {"scopes": ["read_api"], "expires_at": "2030-01-01"}
    task = asyncio.create_task(issuer_app._keep_proving(company.issuer))
    await asyncio.sleep(0.5)
    alive = not task.done()
    task.cancel()
    with contextlib.suppress(BaseException):
        await task
    assert alive, "the hourly proof has ended for good"


async def test_a_body_that_never_ends_is_cut_off(company: Company) -> None:
    host, port = company.wire.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\na"
    )
    started = time.monotonic()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(reader.read(), 20)
    took = time.monotonic() - started
    writer.close()
    assert took < 19, "a request without its body holds a connection for as long as it likes"


async def test_a_head_that_never_ends_is_cut_off(company: Company) -> None:
    host, port = company.wire.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /token HTTP/1.1\r\nHost: x\r\n")
    started = time.monotonic()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(reader.read(), 20)
    took = time.monotonic() - started
    writer.close()
    assert took < 19, "a request without its head holds a connection for as long as it likes"


async def test_an_issuer_that_starts_on_a_shortened_trail_says_so(tmp_path: Path) -> None:
    """The head beside the data base is compared before it is overwritten; else a restart makes a cut invisible."""
    import sqlite3

    async with open_company(tmp_path) as company:
        laptop, token = await company.signed_in("developer")
        await laptop.token(token)
        issuer_app._tell_head(company.issuer)
    connection = sqlite3.connect(tmp_path / "state" / "state.db")
    connection.execute("DROP TRIGGER audit_keeps")
    connection.execute("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)")
    connection.commit()
    connection.close()
    status, _ = commands.audit_verify(tmp_path / "issuer.toml")
    assert status != 0
    with contextlib.suppress(Exception):
        async with open_company(tmp_path, change=lambda _: None) as company:
            issuer_app._tell_head(company.issuer)
    status, text = commands.audit_verify(tmp_path / "issuer.toml")
    assert status != 0, text


async def test_verify_does_not_call_a_trail_good_whose_head_is_gone(company: Company) -> None:
    laptop, token = await company.signed_in("developer")
    await laptop.token(token)
    issuer_app._tell_head(company.issuer)
    (company.folder / "state" / "head").unlink()
    status, text = commands.audit_verify(company.folder / "issuer.toml")
    assert status != 0 or "no head" in text, text


async def test_verify_survives_a_head_that_a_crash_left_empty(company: Company) -> None:
    issuer_app._tell_head(company.issuer)
    (company.folder / "state" / "head").write_text("")
    _, text = commands.audit_verify(company.folder / "issuer.toml")
    assert "SEQ:HASH" not in text, text


async def test_requests_of_one_person_are_limited_whatever_token_they_come_with(tmp_path: Path) -> None:
    """The limit is said to be per subject; a refresh makes a new token and with it a new allowance."""

    def few(folder: Path) -> None:
        path = folder / "issuer.toml"
        path.write_text(path.read_text() + "[limits]\nper_subject = 5\n")

    async with open_company(tmp_path, change=few) as company:
        laptop, token = await company.signed_in("developer")
        statuses = [(await laptop.token(company.idp.token("developer", n=n)))[0] for n in range(20)]
        assert 429 in statuses, statuses
