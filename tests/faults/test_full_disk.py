"""A disk that is full: no credential leaves, everybody is told, and everything goes on when there is room again."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from juniperd.errors import StateError
from juniperd.issuer import audit, state
from juniperd.issuer.keys import Keys
from juniperd.model import Secret
from juniperd.turns import Turns
from tests.issuer.doubles import NOW, Company, open_company
from tests.requirements import require_peer

SIZE = 512 * 1024
FILLER = "filler"


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of half a MiB at ``folder``, as only root may make one."""
    folder.mkdir(mode=0o700, exist_ok=True)
    options = f"size={SIZE},mode=0700,uid={os.getuid()}"
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        require_peer("mount", made.stderr.decode().strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave not a byte of room."""
    descriptor = os.open(folder / FILLER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for size in (65_536, 4_096, 1):
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                _write_on(descriptor, b"x" * size)
    finally:
        os.close(descriptor)


def _write_on(descriptor: int, piece: bytes) -> None:
    while True:
        os.write(descriptor, piece)


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    """A company whose issuer remembers on a small disk."""
    with small_disk(tmp_path / "state"):
        async with open_company(tmp_path) as opened:
            yield opened


async def test_no_token_leaves_while_the_trail_cannot_be_written(company: Company) -> None:
    laptop, token = await company.signed_in()
    assert (await laptop.token(token))[0] == 200
    known = len(company.events())
    fill(company.folder / "state")
    answers = [await laptop.token(token) for _ in range(200)]
    refused = [body for status, body in answers if status != 200]
    served = sum(status == 200 for status, _ in answers)
    # What fits into the pages that the data base has already may still be written, and is; nothing else is issued.
    assert served == len(company.events()) - known
    assert refused, "the disk is full"
    assert {body["error"] for body in refused} == {"server_error"}
    assert all("access_token" not in body for body in refused)
    assert all("cannot be written" in body["error_description"] for body in refused)
    assert (await laptop.token(token))[0] == 503


async def test_discovery_and_keys_go_on_and_all_recovers_by_itself(company: Company) -> None:
    laptop, token = await company.signed_in()
    fill(company.folder / "state")
    while (await laptop.token(token))[0] == 200:
        continue
    for path in ("/jwks", "/.well-known/openid-configuration", "/.well-known/juniper"):
        async with company.session.get(company.wire + path) as answer:
            assert answer.status == 200
    for status in (
        (await laptop.open_session(token))[0],
        (await laptop.call("GET", "/explain", token, query="?scope=x"))[0],
    ):
        assert status == 503
    assert company.events("session_opened") == []
    (company.folder / "state" / FILLER).unlink()
    assert (await laptop.token(token))[0] == 200
    assert (await laptop.open_session(token))[0] == 201
    with closing(state.connect(company.folder / "state", readonly=True)) as connection:
        head, flaw = audit.verify(connection)
    assert flaw is None
    assert head.seq > 0


async def test_a_sign_in_on_a_full_disk_is_none(company: Company) -> None:
    laptop, token = await company.signed_in()
    fill(company.folder / "state")
    while (await laptop.token(token))[0] == 200:
        continue
    other = company.laptop()
    status, body = await other.sign_in(company.idp.token("maintainer"))
    assert (status, body["error"]) == (503, "server_error")
    (company.folder / "state" / FILLER).unlink()
    assert (await other.sign_in(company.idp.token("maintainer")))[0] == 201


def test_a_key_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    with small_disk(folder):
        keys = Keys(folder, now=NOW)
        before = keys.jwks(NOW)
        fill(folder)
        for act in (keys.rotate, keys.replace):
            with pytest.raises(StateError, match="cannot be written") as refused:
                act(NOW)
            assert refused.value.remedy == f"make room in {folder}, then try again"
            assert keys.jwks(NOW) == before
        assert Keys(folder, now=NOW).jwks(NOW) == before
        (folder / FILLER).unlink()
        keys.replace(NOW)
        assert Keys(folder, now=NOW).jwks(NOW) == keys.jwks(NOW) != before


async def test_a_full_home_keeps_no_agent_from_its_sign_in(tmp_path: Path) -> None:
    """What the agents of one person write down for each other is a guard, and nothing that a sign-in hangs on."""
    home = tmp_path / "home"
    with small_disk(home):
        turns = Turns(home / "sign-in.lock")
        fill(home)
        async with turns.turn():
            await turns.note(Secret("key"), Secret("token"))
        assert await turns.is_newest(Secret("key"), Secret("another"))
        (home / FILLER).unlink()
        async with turns.turn():
            await turns.note(Secret("key"), Secret("token"))
        assert not await turns.is_newest(Secret("key"), Secret("another"))
