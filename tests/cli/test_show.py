"""What other people's servers say, on the terminal of somebody who decides by it."""

from __future__ import annotations

import io

import pytest

from juniperd.cli import connection, explain, log, setup_aws, setup_issuer, show
from juniperd.cli.sign_in_screen import SignInScreen
from juniperd.config import Network
from juniperd.setup.issuer import Found

EVIL = "Team\x1b[2A\x1b[2Kissuer   https://good.example.com\x1b[2B\u202e\x9b2J"


def printable(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


def test_an_issuer_s_words_move_no_cursor_while_one_decides(capsys: pytest.CaptureFixture[str]) -> None:
    found = Found("https://i.example", "https://i.example", "https://idp.example", EVIL, f"device{EVIL}", (EVIL,))
    setup_issuer._show(found, Network())
    said = capsys.readouterr()
    assert printable(said.out + said.err)
    assert said.out.count("\n") == 3


def test_gitlab_s_words_move_no_cursor_in_an_explanation() -> None:
    step = {"rule": "2", "asked": "GET /users/7", "answered": f"7-{EVIL}, active", "verdict": "ok"}
    answer = {"verdict": "refused", "rule": "4", "text": EVIL, "steps": [step]}
    lines = list(explain._lines("scope", answer))
    assert len(lines) == 2
    assert all(printable(line) for line in lines)


def test_a_log_is_lines_whatever_an_issuer_or_a_program_is_called() -> None:
    times: tuple[object, ...] = (EVIL, 1e300, None, [], "2026-11-29T06:00:00Z")
    events: list[dict[str, object]] = [
        {"event": kind, "time": moment, "scope": EVIL, "reason": EVIL, "session": EVIL, "id": EVIL, "project": EVIL}
        for kind in ("decision", "session_opened", "session_ended", "session_refused", EVIL)
        for moment in times
    ]
    trails = {EVIL: {"events": events, "more": True}, "other": {"problem": EVIL}}
    row = {"program": EVIL, "scope": EVIL, "text": EVIL, "first": EVIL, "last": EVIL, "count": EVIL}
    lines = list(log._lines({"issuers": trails, "problem": EVIL, "uses": [row], "refusals": [row], "started_at": EVIL}))
    assert all(printable(line) and "\n" not in line for line in lines)
    assert sum("refused" in line for line in lines) >= 10


def test_a_person_and_a_code_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(show.person({"login": EVIL, "id": 7}))
    event = {"app": EVIL, "host": EVIL, "verification_uri": EVIL, "user_code": EVIL, "expires_in": 600}
    out = io.StringIO()
    SignInScreen(out, {"LANG": "C.UTF-8"}, clock=float).code(event)
    assert printable(out.getvalue())
    assert out.getvalue().count("\n") == 4
    show.as_json({"login": EVIL})
    assert printable(capsys.readouterr().out)


@pytest.mark.parametrize(("sandbox", "endpoint"), [("", ""), ("sandbox = true\n", "http://127.0.0.1:5000")])
def test_an_endpoint_is_the_sandbox_s_alone(
    sandbox: str, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("config") / "juniper.toml"
    path.write_text(sandbox + 'version = 1\n[issuer.team]\nurl = "https://i.example"\nidp = "https://idp.example"\n')
    monkeypatch.setenv("JUNIPER_CONFIG", str(path))
    target = {"kind": "aws", "region": "eu-west-1", "endpoint": "http://127.0.0.1:5000"}
    catalogue = {"issuers": {"team": {"scopes": [{"name": "a", "held": True, "targets": [target]}]}}}
    monkeypatch.setattr(connection, "result", lambda *_a, **_k: catalogue)
    assert [p.endpoint for p in setup_aws._profiles()] == [endpoint]


def test_no_two_profiles_of_several_issuers_have_one_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("config") / "juniper.toml"
    tables = [
        f'[issuer.{name}]\nurl = "https://{name}.example"\nidp = "https://idp.example"\n' for name in ("a", "a-b")
    ]
    path.write_text("version = 1\n" + "".join(tables))
    monkeypatch.setenv("JUNIPER_CONFIG", str(path))
    target = {"kind": "aws", "region": "eu-west-1"}
    held = {"a": "b-logs", "a-b": "logs"}
    catalogues = {i: {"scopes": [{"name": n, "held": True, "targets": [target]}]} for i, n in held.items()}
    monkeypatch.setattr(connection, "result", lambda *_a, **_k: {"issuers": catalogues})
    assert [p.name for p in setup_aws._profiles()] == ["a.b-logs", "a-b.logs"]
