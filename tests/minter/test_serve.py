"""``juniper minter serve`` as a process: signals, a kill in the worst moment, and one process per folder."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest

from juniperd.errors import ConfigError, StateError
from juniperd.minter import config as configuration
from juniperd.minter import ledger
from juniperd.minter.ledger import Ledger
from tests.agent.harness import until
from tests.private import assert_private

from .harness import TOKEN, Answer, Front, Issuer, around, post, trusting, write_files

PROGRAM = "import sys; from juniperd.cli import main; sys.argv[0] = 'juniper'; sys.exit(main())"
Process = asyncio.subprocess.Process


async def started(*words: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[tuple[Process, str]]:
    """The process once it listens, and where."""
    process = await started("minter", "serve", "--config", str(path))
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20):
            while b"listening on" not in (line := await process.stderr.readline()):
                assert line, "the minter ended before it listened"
        yield process, line.decode().split("listening on ")[1].strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def ordering(folder: Path, address: str, issuer: Issuer, front: Front) -> AsyncIterator[asyncio.Task[Answer]]:
    """An order whose answer GitLab keeps back."""
    front.keeps = True
    async with aiohttp.ClientSession(connector=trusting(folder)) as session:
        task = asyncio.create_task(post(session, address, issuer.sign(issuer.mint())))
        async with asyncio.timeout(20):
            await front.kept.wait()
        yield task


async def test_killed_before_gitlab_answered_it_deletes_the_token_at_its_next_start(tmp_path: Path) -> None:
    async with around(time.time) as (gitlab, front, issuer):
        path = write_files(tmp_path, gitlab=front.url, issuer=issuer.url)
        async with serving(path) as (process, address), ordering(tmp_path, address, issuer, front) as task:
            process.send_signal(signal.SIGKILL)
            await process.wait()
            assert len(gitlab.deploy_tokens.rows) == 1
            front.let_go.set()
            with pytest.raises(aiohttp.ClientError):
                await task
        async with serving(path):
            await until(lambda: gitlab.deploy_tokens.rows == [])


async def test_told_to_stop_it_finishes_what_is_under_way(tmp_path: Path) -> None:
    async with around(time.time) as (gitlab, front, issuer):
        path = write_files(tmp_path, gitlab=front.url, issuer=issuer.url)
        async with serving(path) as (process, address), ordering(tmp_path, address, issuer, front) as task:
            process.send_signal(signal.SIGTERM)
            front.let_go.set()
            status, said = await task
            assert (status, said["username"]) == (201, "juniper-7-developer")
            async with asyncio.timeout(20):
                assert await process.wait() == 0
        assert len(gitlab.deploy_tokens.rows) == 1


@pytest.mark.as_user
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
async def test_its_memory_is_nobodys_business(tmp_path: Path) -> None:
    path = write_files(tmp_path, gitlab="http://127.0.0.1:9", issuer="http://127.0.0.1:10")
    async with serving(path) as (process, _):
        assert_private(process.pid)


async def test_it_tells_what_it_would_do_and_nothing_else(tmp_path: Path) -> None:
    path = write_files(tmp_path, gitlab="http://127.0.0.1:9", issuer="http://127.0.0.1:10", extra="may_write = true")
    process = await started("minter", "check", "--config", str(path))
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert "projects: 42, 44\nscopes:   read_registry, read_repository, write_registry\n" in out.decode()
    assert TOKEN.value not in out.decode()


@pytest.mark.as_user
def test_a_folder_is_worked_on_by_one_process(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "state")):
        with pytest.raises(StateError, match="another minter works on"):
            Ledger(tmp_path / "state")
        modes = {p.stat().st_mode & 0o777 for p in (tmp_path / "state").iterdir()}
        assert modes == {0o600}
    with closing(Ledger(tmp_path / "state")):
        pass
    (tmp_path / "state").chmod(0o750)
    with pytest.raises(StateError, match="open to others"):
        Ledger(tmp_path / "state")


async def test_an_older_ledger_goes_on(tmp_path: Path) -> None:
    """Its tokens had the names that were ordered."""
    (tmp_path / "state").mkdir(mode=0o700)
    with closing(sqlite3.connect(tmp_path / "state" / ledger.NAME)) as connection:
        connection.executescript(ledger._SCHEMA)
        row = "INSERT INTO orders VALUES ('{0}', 42, 'juniper 7-a {0}', 'juniper-7-a', '[]', 9, 9, '{1}', {2}, NULL);"
        connection.executescript(row.format("known", "minted", 5) + row.format("lost", "written", 0))
        connection.executescript("PRAGMA user_version = 1")
    with closing(Ledger(tmp_path / "state")) as opened:
        (known,), (lost,) = await opened.due(9), await opened.unanswered()
    assert (known.token_id, known.token_name) == (5, "juniper 7-a known")
    assert (lost.token_id, lost.token_name) == (0, "")


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "state")):
        pass
    with closing(sqlite3.connect(tmp_path / "state" / ledger.NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {ledger.VERSION + 1}")
    with pytest.raises(StateError, match="newer than this program") as caught:
        Ledger(tmp_path / "state")
    assert caught.value.remedy == "upgrade juniperd"


FLAWS = [
    ("version = 1", "version = 2", "newer than this program"),
    ("sandbox = true", "sandbox = false", "is not an https URL"),
    ('listen = "127.0.0.1:0"', 'listen = "127.0.0.1"', "is not HOST:PORT"),
    ('tls_key = "minter.key"', "", "'tls_key' is missing"),
    ('state = "state"', 'state = "state"\nkeys = "keys"', "unknown key 'keys'"),
    ("projects = [42, 44]", "projects = []", "list of project ids"),
    ("projects = [42, 44]", "projects = [42, 42]", "list of project ids"),
    ("projects = [42, 44]", "projects = [true]", "list of project ids"),
    ("projects = [42, 44]", 'projects = ["shop/billing"]', "list of project ids"),
    ("projects = [42, 44]", "projects = 42", "list of project ids"),
    ("projects = [42, 44]", 'projects = [1]\nmay_write = "yes"', "must be true or false"),
    ('token_file = "gitlab.token"', 'token = "glpat-x"', "'token_file' is missing"),
    ("[gitlab]", "[limits]\n[gitlab]", "unknown key 'limits'"),
]


@pytest.mark.parametrize(("old", "new", "words"), FLAWS)
def test_a_configuration_is_strict(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = write_files(tmp_path, gitlab="http://127.0.0.1:9", issuer="http://127.0.0.1:10")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=r"minter\.toml:\d+: ") as caught:
        configuration.load(path)
    assert words in caught.value.message


@pytest.mark.as_user
def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = write_files(tmp_path, gitlab="http://127.0.0.1:9", issuer="http://127.0.0.1:10")
    (tmp_path / "gitlab.token").chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others"):
        configuration.load(path).gitlab.token()
