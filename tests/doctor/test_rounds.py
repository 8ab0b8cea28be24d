"""Everything side by side: the order, the limit, what a person without anything gets, and the support file."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from getpass import getuser
from pathlib import Path

import pytest

from juniperd.doctor import bundle, rounds
from juniperd.doctor.bundle import Scrubber
from juniperd.doctor.finding import Finding, note
from juniperd.doctor.laptop import Laptop
from juniperd.errors import ConfigError, IssuerError

from .laptops import answers, laptop, lines

pytestmark = pytest.mark.as_user


async def visited(at: Laptop) -> list[Finding]:
    try:
        return await rounds.visit(at)
    finally:
        await at.close()


async def test_without_a_configuration_there_is_one_thing_to_do(tmp_path: Path) -> None:
    found = await visited(laptop(tmp_path, toml=None))
    (fix,) = lines(found)
    assert fix.endswith("run: juniper setup https://your-issuer")
    assert {one.check for one in found} == {"configuration", "socket", "helpers", "disk"} | (
        {"variables"} if lines(found, "note") else set()
    )


async def test_without_agent_and_network_each_is_told_once(tmp_path: Path) -> None:
    ended: list[str] = []
    at = laptop(tmp_path)
    found = await rounds.visit(at, done=ended.append)
    await at.close()
    assert sorted(ended) == sorted(rounds.CHECKS)
    checks = [one.check for one in found if not one.ok]
    assert checks == ["agent", "issuer team", "identity provider 127.0.0.1:1"]


async def test_a_check_that_is_too_slow_says_so_and_keeps_what_it_had(tmp_path: Path) -> None:
    async def slow(_laptop: Laptop) -> AsyncIterator[Finding]:
        yield note("slow", "begun")
        await asyncio.Event().wait()

    async def broken(_laptop: Laptop) -> AsyncIterator[Finding]:
        yield note("broken", "begun")
        msg = "it said no"
        raise IssuerError(msg, "ask")

    at = laptop(tmp_path)
    assert [str(one) for one in await rounds.limited("slow", slow, at, limit=0.01)] == [
        "note slow: begun",
        "fix  slow: not done after 0.01 s; try again; if it stays so, run: juniper status",
    ]
    assert str((await rounds.limited("broken", broken, at))[-1]) == "fix  broken: it said no; ask"
    await at.close()


@pytest.mark.parametrize(
    ("line", "text", "cure"),
    [
        ("no agent; run: juniper down; juniper up", "no agent", "run: juniper down; juniper up"),
        ("a; b; unset it", "a; b", "unset it"),
        ("nothing to cut", "nothing to cut", "run: juniper status"),
    ],
)
def test_a_line_of_ours_is_cut_where_its_cure_begins(line: str, text: str, cure: str) -> None:
    found = Finding.of_line("check", line)
    assert (found.text, found.cure) == (text, cure)


def test_no_finding_moves_a_cursor() -> None:
    assert "\x1b" not in str(Finding("a\x1b[2J", "b\x1b[2J", "c\x1b[2J"))
    assert "\x1b" not in json.dumps(Finding("a\x1b[2J", "b\x1b[2J", "c\x1b[2J").shown, ensure_ascii=False)


# --- the support file -------------------------------------------------------------------------------------------------

MAIL, JWT = "jo@example.com", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJqbyJ9.c2lnbmF0dXJl"
SECRETS = (
    MAIL,
    JWT,
    "glpat-0123456789abcdefghij",
    "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "8f14e45fceea167a5a36dedd4bea2543",
    "hunter2",
)
PROXY = '[network]\nproxy = "http://jo:hunter2@proxy.example.com:3128"\n'


def hostile() -> dict[str, object]:
    """An agent's answer with secrets wherever text can stand, and with fields that nobody asked for."""
    said = " ".join((*SECRETS[:-1], str(Path.home())))
    agent = {"version": said, "clock_note": said, "token": said, "store": {"kind": "memory", "note": said, "key": said}}
    sign_in = {"issuer": "team", "state": "signed-out", "reason": said, "person": MAIL, "user": {"login": said}}
    lease = {"issuer": "team", "scope": said, "problem": said, "secret": said, "seconds_left": [said]}
    return answers(
        status={"agent": agent, "sign_ins": [sign_in], "leases": [lease], "sessions": [{"reason": said}]}, keyring={}
    )


async def made(home: Path) -> dict[str, object]:
    toml = 'version = 1\nsandbox = true\n[issuer.team]\nurl = "{url}"\nidp = "{idp}"\n' + PROXY
    at = laptop(home, hostile(), toml=toml, AWS_ACCESS_KEY_ID=SECRETS[3])
    found = [*await rounds.visit(at), Finding("x", " ".join(SECRETS[:-1]), f"in {home}/x")]
    document = bundle.document(at, found, await at.ask("status"))
    await at.close()
    return document


async def test_the_support_file_holds_no_secret_whatever_it_is_told(tmp_path: Path) -> None:
    document = await made(tmp_path)
    text = json.dumps(document)
    assert [one for one in (*SECRETS, str(tmp_path), str(Path.home())) if one in text] == []
    assert set(document) == {
        *("version", "made_at", "juniper", "python", "platform", "findings", "configuration", "agent"),
        *("sign_ins", "leases", "sessions", "variables", "files"),
    }
    assert document["configuration"] == {
        "issuers": [
            {"name": "team", "url": "http://127.0.0.1:1", "idp": "http://127.0.0.1:1", "registries": {}, "git": []}
        ],
        "proxy": "http://proxy.example.com:3128",
        "no_proxy": [],
        "ca_file": None,
        "store": "keyring",
        "sandbox": True,
    }
    assert "~/juniper.toml" in text


def test_what_helps_is_not_scrubbed() -> None:
    clean = Scrubber(Path("/home/jo"), "jo")
    kept = (
        "scope invoice-archive-writer-for-the-eu-west-1 at https://sts.eu-west-1.amazonaws.com/; 2026-11-29T05:00:00Z"
    )
    assert clean(kept) == kept
    assert clean("/home/jo/.aws and user jo, not job") == "~/.aws and user <user>, not job"
    assert getuser() not in clean(f"/data/{getuser()}/x") or getuser() != "jo"


def test_the_support_file_is_new_and_nobody_else_s(tmp_path: Path) -> None:
    path = tmp_path / "support.json"
    bundle.write(path, {"version": 1})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {"version": 1}
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for taken in (path, tmp_path / "link"):
        with pytest.raises(ConfigError, match="is there already"):
            bundle.write(taken, {})
    with pytest.raises(ConfigError, match="cannot be written"):
        bundle.write(tmp_path / "nowhere" / "x", {})
    assert not (tmp_path / "elsewhere").exists()
