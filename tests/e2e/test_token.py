"""``juniper token`` as a person types it: a real process, a real agent and issuer, and real ``curl``."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.agent.harness import until
from tests.requirements import require_peer

from .conftest import Companies
from .whole import Whole

JUNIPER = Path(sys.executable).with_name("juniper")
LIMIT = 20.0


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell on that laptop."""

    inside: Whole
    env: Mapping[str, str]

    def within(self, socket: object) -> Shell:
        """The shell of a debugging session."""
        return Shell(self.inside, {**self.env, "JUNIPER_SESSION_SOCKET": str(socket)})

    async def start(self, *argv: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*argv, env=dict(self.env), stdout=pipe, stderr=pipe)

    async def run(self, *argv: str) -> tuple[int, str, str]:
        process = await self.start(*argv)
        out, err = await asyncio.wait_for(process.communicate(), LIMIT)
        return process.returncode or 0, out.decode(), err.decode()

    async def juniper(self, *words: str) -> tuple[int, str, str]:
        return await self.run(str(JUNIPER), *words)

    async def token(self, *words: str) -> tuple[int, str, str]:
        return await self.juniper("token", *words)

    @asynccontextmanager
    async def keeping(self, path: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """The file is kept while the block runs."""
        process = await self.start(str(JUNIPER), "token", "--audience", "billing-api", "--file", str(path), *words)
        try:
            assert process.stderr is not None
            first = await asyncio.wait_for(process.stderr.readline(), LIMIT)
            assert b" holds a token until " in first, first
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
async def shell(companies: Companies, home: Path) -> AsyncIterator[Shell]:
    async with companies() as inside:
        await inside.sign_in()
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "JUNIPER_SOCKET": str(inside.socket)}
        yield Shell(inside, env)


async def test_a_token_is_a_line_on_standard_output_and_nothing_else(shell: Shell) -> None:
    status, out, err = await shell.token("--audience", "billing-api")
    assert (status, err, out.count("\n"), out.count(".")) == (0, "", 1, 2)
    status, header, _ = await shell.token("--audience", "billing-api", "--header", "--scope", "billing-api-reader")
    assert header == f"Authorization: Bearer {out}"


def words_of(pid: int) -> bytes:
    """Arguments and variables of a process that we started, and of those that it started."""
    place = Path(f"/proc/{pid}")
    try:
        below = (place / "task" / str(pid) / "children").read_text().split()
        own = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""  # it ended meanwhile
    return own + b"".join(words_of(int(child)) for child in below)


async def test_curl_takes_the_header_from_a_file_and_no_token_stands_in_argv(shell: Shell) -> None:
    """The line of the README, in bash; the server sees the token, and the process table does not."""
    curl, bash = shutil.which("curl"), shutil.which("bash")
    if curl is None or bash is None:
        require_peer("curl", "curl and bash show the README's line")
    seen: list[str] = []
    told: list[bytes] = []
    started: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        told.extend(map(words_of, started))
        return web.Response(text="invoice 7\n")

    app = web.Application()
    app.router.add_get("/invoices", answer)
    async with TestServer(app) as server:
        ask = f'"{JUNIPER}" token --header --audience billing-api'
        line = f'curl -sS --noproxy "*" -H @<({ask}) {server.make_url("/invoices")}; exit $?'
        process = await shell.start(bash, "-c", line)
        started.append(process.pid)
        out, err = await asyncio.wait_for(process.communicate(), LIMIT)
    assert (process.returncode, out, err) == (0, b"invoice 7\n", b"")
    (header,), (words,) = seen, told
    assert header.startswith("Bearer ")
    assert header.count(".") == 2
    assert b"curl\0-sS\0" in words
    assert header.removeprefix("Bearer ").encode() not in words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--audience", "nobody"), "juniper: you can see no API 'nobody'; run: juniper scopes"),
        (("--audience", "Billing"), "juniper: you can see no API 'Billing'; did you mean billing-api? write "),
        (("--audience", "billing-api", "--scope", "no-such"), "juniper: you can see no scope 'no-such'; "),
    ],
)
async def test_what_cannot_be_had_is_one_line(shell: Shell, words: tuple[str, ...], says: str) -> None:
    found, out, err = await shell.token(*words)
    assert (out, err.count("\n"), err.startswith(says)) == ("", 1, True), err
    assert found == 2


async def test_a_dead_session_is_never_replaced_by_the_main_socket(shell: Shell) -> None:
    opened = await shell.inside.open_session(reason="invoices stuck")
    within = shell.within(opened["socket"])
    status, out, err = await within.token("--audience", "billing-api")
    assert (status, err) == (0, "")
    assert shell.inside.last_decision()["session"] == opened["id"]
    await shell.inside.control("session_close", id=opened["id"])
    status, out, err = await within.token("--audience", "billing-api")
    assert (status, out) == (1, "")
    assert err == "juniper: the session has ended; run: juniper session open\n"
    assert (await shell.token("--audience", "billing-api"))[0] == 0


async def test_without_an_agent_it_is_said(shell: Shell, tmp_path: Path) -> None:
    other = Shell(shell.inside, {**shell.env, "JUNIPER_SOCKET": str(tmp_path / "none.sock")})
    assert await other.token("--audience", "billing-api") == (1, "", "juniper: no agent is running; run: juniper up\n")


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_the_file_is_private_and_goes_with_a_signal(shell: Shell, tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "kept" / "token"
    path.parent.mkdir(mode=0o700)
    async with shell.keeping(path, "--header") as process:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text().startswith("Authorization: Bearer ")
        process.send_signal(number)
        _, err = await asyncio.wait_for(process.communicate(), LIMIT)
    assert process.returncode == 0
    assert err.decode() == f"juniper token: {path} is removed\n"
    assert list(path.parent.iterdir()) == []


async def test_the_file_gets_the_next_token_whole_before_the_old_one_ends(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "token"
    async with shell.keeping(path) as process:
        first, inode = path.read_text(), path.stat().st_ino
        shell.inside.clock.pass_by(3400)
        await shell.inside.agent.broker.renew_due()
        await until(lambda: path.read_text() != first, LIMIT)
        assert path.read_text().count(".") == 2
        assert path.stat().st_ino != inode
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), LIMIT)
    assert not path.exists()


async def test_the_file_ends_with_the_session(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "token"
    opened = await shell.inside.open_session(reason="invoices stuck")
    async with shell.within(opened["socket"]).keeping(path) as process:
        await shell.inside.control("session_close", id=opened["id"])
        _, err = await asyncio.wait_for(process.communicate(), LIMIT)
    assert process.returncode == 1
    assert err.decode().splitlines() == [
        f"juniper token: {path} is removed",
        "juniper: the session has ended; run: juniper session open",
    ]
    assert not path.exists()


async def test_the_file_goes_with_a_lock(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "token"
    async with shell.keeping(path) as process:
        await shell.inside.control("lock")
        _, err = await asyncio.wait_for(process.communicate(), LIMIT)
    assert process.returncode not in {0, None}
    assert f"{path} is removed" in err.decode()
    assert not path.exists()
