"""``juniper session`` as a person at a shell uses it, with real ``aws`` inside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .company import BUCKET, SCOPE, Company, shell_variables

pytestmark = pytest.mark.e2e
JANITOR = "invoice-archive-janitor"
PLACE = ("shop/billing", "--env", "staging")


@pytest.fixture
def opened(shop: Company) -> Iterator[Company]:
    """A shell within a session."""
    said = shop.juniper("session", "open", *PLACE, "--for", "30m", "--reason", "invoices stuck")
    yield shop.under(**shell_variables(said.good()))
    shop.juniper("session", "close")


def test_real_aws_holds_a_sleeping_scope_within_a_session_and_not_outside(opened: Company, shop: Company) -> None:
    before = len(shop.decisions())
    shop.aws("s3", "cp", "-", f"s3://{BUCKET}/old", stdin=b"invoice 7\n").good()
    outside = shop.aws("s3", "rm", f"s3://{BUCKET}/old", profile=JANITOR)
    assert outside.line.endswith("run: juniper session open shop/billing --env staging")
    assert "delete: " in opened.aws("s3", "rm", f"s3://{BUCKET}/old", profile=JANITOR).good()
    used = [record for record in shop.decisions()[before:] if record["session"] is not None]
    assert {record["scope"] for record in used} == {JANITOR}


def test_opening_says_what_it_reaches_and_what_is_left_out(shop: Company) -> None:
    done = shop.juniper("session", "open", *PLACE, "--for", "90s")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("session ")
    others = (
        "billing-debugger, billing-batch-inspector, billing-api-reader, billing-image-reader, billing-source-reader, "
        "invoice-export-google"
    )
    assert lines[0].endswith(f"scopes: {SCOPE}, invoice-archive-reader, {JANITOR}, {others}")
    assert lines[1].startswith("left out: billing-release-publisher (merge only: ")
    assert list(shell_variables(done.good())) == ["JUNIPER_SESSION_SOCKET"]
    assert shop.juniper("session", "close").good().endswith(": closed\n")


def test_status_and_list_show_it_and_extend_moves_its_end(opened: Company) -> None:
    (row,) = json.loads(opened.juniper("session", "list", "--json").good())
    shown: Any = opened.status()["sessions"]
    assert [session["id"] for session in shown] == [row["id"]]
    assert f"shop/billing staging until {row['ends_at'][11:16]}" in opened.juniper("status").good()
    assert opened.juniper("session", "extend", "30m").good().startswith(f"session {row['id']}: until ")
    (later,) = json.loads(opened.juniper("session", "list", "--json").good())
    assert later["ends_at"] > row["ends_at"]


def test_a_shell_whose_session_is_over_falls_back_to_nothing(opened: Company, shop: Company) -> None:
    assert opened.helper(JANITOR).status == 0
    opened.juniper("session", "close").good()
    for scope in (JANITOR, SCOPE):
        over = opened.helper(scope)
        assert (over.status, over.stdout) == (1, "")
        assert over.line.startswith("juniper-aws: the session has ended; run: juniper ")
    assert shop.helper(SCOPE).status == 0


def test_the_issuer_ends_it_while_the_agent_is_gone(healed: Company) -> None:
    healed.sign_in()
    written = len(healed.trail())
    short = healed.juniper("session", "open", *PLACE, "--for", "2s")
    within = healed.under(**shell_variables(short.good()))
    healed.kill_agent()
    over = within.helper(JANITOR)
    assert over.line.startswith("juniper-aws: the session has ended; run: juniper ")
    assert [record["cause"] for record in healed.followed("session_ended", since=written)] == ["time"]
    healed.juniper("up").good()
    assert list(healed.run_dir.glob("session-*.sock")) == []


@pytest.mark.parametrize(
    ("words", "line", "cure"),
    [
        (
            ("open", "shop/billing", "--env", "moon"),
            "you can see no environment 'moon' of shop/billing;",
            "run: juniper scopes",
        ),
        (("open", *PLACE, "--for", "soon"), "'soon' is not a length of time;", "write it as 90s, 30m or 1h"),
        (
            ("open", *PLACE, "--for", "13h"),
            "the issuer does not take the request: seconds must be a whole number, 1 to 43200;",
            "write 12h or less",
        ),
        (
            ("open", *PLACE, "--scope", "Wrong!"),
            "the issuer does not take the request: a scope's name is lower-case letters, digits and '-';",
            "mend its name",
        ),
        (
            ("open", "shop/billing", "--env", ""),
            "--env is empty;",
            "write: juniper session open shop/billing --env staging",
        ),
        (
            ("extend", "30m"),
            "no session is open on this laptop;",
            "run: juniper session open PROJECT --env ENVIRONMENT",
        ),
        (("close", "0123456789ab"), "there is no such session (", "run: juniper session list"),
        (("close", "zzz"), "there is no such session;", "run: juniper session list"),
        (("close", "/tmp/session-0.sock"), "the debugging session has ended;", "run: juniper session list"),
    ],
)
def test_bad_input_is_one_line_with_its_cure(shop: Company, words: tuple[str, ...], line: str, cure: str) -> None:
    done = shop.juniper("session", *words)
    assert done.status != 0
    assert done.line.startswith(f"juniper: {line}")
    assert done.line.endswith(f"; {cure}")
