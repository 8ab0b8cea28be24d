"""Who is signed in decides what the tools get; and what a person reads where nobody is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .company import REFUSED, SCOPE, Company, installed

pytestmark = pytest.mark.e2e
CHECKING = "checking with the issuer"


@pytest.mark.usefixtures("shop")
def test_signed_out_is_told_within_a_second(healed: Company) -> None:
    healed.juniper("logout").good()
    started = time.monotonic()
    refused = healed.helper(timeout=20)
    assert time.monotonic() - started < 1.0
    assert (refused.status, refused.stdout) == (77, "")
    assert refused.line == "juniper-aws: nobody is signed in; run: juniper login"
    through = healed.aws("sts", "get-caller-identity")
    assert through.status != 0
    assert through.line.endswith("nobody is signed in; run: juniper login")
    assert healed.juniper("whoami").line == "juniper: nobody is signed in; run: juniper login"


@pytest.mark.usefixtures("shop")
def test_locked_is_told_within_a_second_with_what_unlocks_it(healed: Company) -> None:
    """The sandbox keeps sign-ins in memory, so that its lock is the end of one, and says so."""
    assert healed.helper().status == 0
    locked = healed.juniper("lock")
    said, note = locked.good().splitlines()
    assert said == "locked; run: juniper unlock"
    assert note.startswith("note: the sign-in of sandbox was in memory only and is forgotten")
    started = time.monotonic()
    refused = healed.helper(timeout=20)
    assert time.monotonic() - started < 1.0
    assert (refused.status, refused.stdout) == (77, "")
    assert refused.line == "juniper-aws: the sign-in is locked; run: juniper unlock"
    shown = healed.juniper("status").good()
    assert "sign-in   sandbox: locked; run: juniper unlock" in shown
    assert "lease     none" in shown
    assert healed.juniper("unlock").line == "juniper: nobody is signed in; run: juniper login"
    healed.sign_in()
    assert healed.helper().status == 0


def test_the_code_is_shown_where_no_terminal_is(healed: Company) -> None:
    login = healed.juniper("login", "--device")
    assert login.stdout.startswith("signed in as developer (user 7) until ")
    asked, link, code, _waiting, checking = login.stderr.splitlines()
    assert checking == CHECKING
    assert asked == f"Juniper asks you to sign in at {healed.url('idp').removeprefix('http://')}"
    user_code = code.split()[1]
    assert link.split() == ["open", f"{healed.url('idp')}/activate?user_code={user_code}"]


def test_the_browser_is_opened_where_there_is_one(healed: Company, tmp_path: Path) -> None:
    """``xdg-open`` here is a browser as far as redirects go; what it was led to ends at the agent's own page."""
    opener = tmp_path / "xdg-open"
    page = "import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())"
    fetch = f'{sys.executable} -c "{page}" "$1" >{tmp_path}/loading'
    opener.write_text(f"#!/bin/sh\n{fetch} && mv {tmp_path}/loading {tmp_path}/shown\n")
    opener.chmod(0o755)
    desk = healed.under(DISPLAY=":0", PATH=f"{tmp_path}:{healed.env['PATH']}")
    login = desk.juniper("login", "--browser")
    assert login.good().startswith("signed in as developer (user 7) until ")
    asked, link, opened, waiting, checking = login.stderr.splitlines()
    assert checking == CHECKING
    assert asked == f"Juniper asks you to sign in at {healed.url('idp').removeprefix('http://')}"
    assert link.split()[1].startswith(f"{healed.url('idp')}/authorize?response_type=code&")
    assert (opened, waiting) == ("opened in your browser", "waiting for you, 5 min at most; Ctrl-C ends it")
    assert healed.helper().status == 0
    shown = tmp_path / "shown"
    until = time.monotonic() + 5
    while not shown.exists() and time.monotonic() < until:
        time.sleep(0.01)  # the opener is nobody's child any more
    assert "You are signed in" in shown.read_text()


def test_a_qr_code_also_where_no_terminal_is(healed: Company) -> None:
    shown = healed.juniper("login", "--qr").stderr.splitlines()
    assert len(shown) > 15
    assert shown[-2].startswith("waiting for you, ")
    assert shown[-1] == CHECKING


@pytest.mark.usefixtures("shop")
def test_a_denied_login_is_one_line(healed: Company) -> None:
    healed.juniper("logout").good()
    healed.sandbox("idp", "--deny")
    denied = healed.juniper("login")
    assert denied.status == 1
    assert denied.stdout == ""
    assert denied.stderr.splitlines()[-1] == "juniper: the sign-in was declined in the browser; run: juniper login"
    assert "signed in" not in json.dumps(healed.status()["sign_in"])


@pytest.mark.usefixtures("shop")
def test_a_denied_login_leaves_the_old_sign_in(healed: Company) -> None:
    healed.sandbox("idp", "--deny")
    assert healed.juniper("login", "--again").status == 1
    assert healed.helper().status == 0


def test_three_logins_are_one_flow_and_one_no_is_the_answer_for_a_while(healed: Company) -> None:
    healed.sandbox("idp", "--ask")
    words = [installed("juniper"), "login", "--device", "--again"]
    how: dict[str, Any] = {"env": healed.env, "stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(words, **how) for _ in range(3)]
    (code,) = {_code_shown(process) for process in running}
    form = urllib.parse.urlencode({"user_code": code, "person": "developer", "answer": "deny"}).encode()
    urllib.request.urlopen(f"{healed.url('idp')}/activate", form).close()
    ends = [process.communicate(timeout=20)[1].splitlines()[-1] for process in running]
    assert set(ends) == {"juniper: the sign-in was declined in the browser; run: juniper login"}
    again = healed.juniper("login", "--device")
    assert again.status == 1
    assert re.fullmatch(
        r"juniper: the sign-in was declined in the browser, \d+ s ago; run: juniper login --again", again.line
    )
    healed.sandbox("idp", "--as", "developer")
    healed.juniper("login", "--device", "--again").good()


def _code_shown(process: subprocess.Popen[str]) -> str:
    """The code that a login shows before it waits."""
    assert process.stderr is not None
    lines: list[str] = []
    while not (lines and lines[-1].startswith("waiting for you")):
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    return lines[2].split()[1]


def test_maintainer_holds_what_developer_is_refused(healed: Company) -> None:
    healed.sign_in("maintainer")
    who = json.loads(healed.aws("sts", "get-caller-identity", profile=REFUSED).good())
    assert who["Arn"].endswith(f":assumed-role/{REFUSED}/8-maintainer")


@pytest.mark.usefixtures("shop")
def test_nothing_of_the_old_person_is_served_to_the_new_one(healed: Company) -> None:
    healed.helper().good()
    healed.sign_in("reporter")
    refused = healed.helper()
    assert (refused.status, refused.stdout) == (77, "")
    assert "reporter" in refused.line.lower() or "developer" in refused.line.lower()


def test_an_outsider_learns_nothing_but_an_id(healed: Company) -> None:
    """Who cannot see the project is not told that there is one, by the tool, by explain or by the trail's words."""
    healed.sign_in("outsider")
    refused = healed.helper()
    assert (refused.status, refused.stdout) == (77, "")
    record = healed.decisions()[-1]
    assert record["verdict"] == "refused"
    decision = str(record["id"])
    assert decision in refused.line
    explained, invented = (json.loads(healed.juniper("explain", s, "--json").stdout) for s in (SCOPE, "no-such-scope"))
    assert explained["verdict"] == "refused"
    assert explained.keys() <= {"issuer", "scope", "verdict", "id"}
    assert {**explained, "id": "", "scope": ""} == {**invented, "id": "", "scope": ""}
    for said in (refused.line, json.dumps(explained)):
        # An id is random hexadecimal, and may happen to hold the project's number.
        told = said.replace(decision, "").replace(str(explained["id"]), "")
        assert not [word for word in ("billing", "GitLab", "member", "staging", "42") if word in told]


def test_the_person_entitled_is_told_why(shop: Company) -> None:
    explained = shop.juniper("explain", REFUSED, "--json")
    assert explained.status == 1
    document = json.loads(explained.stdout)
    assert (document["verdict"], document["reason"], document["rule"]) == ("refused", "merge_only", "3")
    assert document["steps"][-1]["verdict"] == "refused" or any(s["verdict"] == "refused" for s in document["steps"])
    assert shop.juniper("explain", SCOPE).status == 0


@pytest.mark.parametrize("verb", [("explain",), ("exec", "--scope")])
def test_a_name_that_is_none_is_guessed_kindly(shop: Company, verb: tuple[str, ...]) -> None:
    mistyped = shop.juniper(*verb, SCOPE[:-1], *(["--", "true"] if verb[0] == "exec" else []))
    assert mistyped.status == 2
    assert f"did you mean {SCOPE}?" in mistyped.line


@pytest.mark.usefixtures("shop")
def test_a_disabled_account_cannot_sign_in(healed: Company) -> None:
    healed.juniper("logout").good()
    healed.sandbox("idp", "--disable", "developer")
    refused = healed.juniper("login")
    assert refused.status == 1
    assert "this account is not active" in refused.stderr.splitlines()[-1]
    assert healed.helper().line == "juniper-aws: nobody is signed in; run: juniper login"


def test_whoami(shop: Company) -> None:
    shown = json.loads(shop.juniper("whoami", "--json").good())
    assert (shown["user"], shown["issuer"]) == ({"id": "7", "login": "developer"}, "sandbox")
