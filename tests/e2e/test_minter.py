"""Kill -9 between order and token: whoever dies, the deploy token that nobody got is found and deleted."""

from __future__ import annotations

import os
import signal
import sqlite3
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .company import PATIENCE, Company, company, ends, installed
from .pulls import BILLING, Pulls

pytestmark = pytest.mark.e2e
SLOW = "1200"
"""Milliseconds in which GitLab thinks about an order: time enough for somebody to die."""
CREATE = f"/api/v4/projects/{BILLING}/deploy_tokens"


@dataclass(slots=True)
class Dying:
    """A company whose issuer and minter can die and come back."""

    pulls: Pulls
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def company(self) -> Company:
        """The company."""
        return self.pulls.company

    def kill(self, name: str) -> None:
        """End it as the kernel does when memory runs out."""
        found = self.started.get(name)
        pid = self.company.process(name).pid if found is None else found.pid
        os.kill(pid, signal.SIGKILL)
        assert ends(pid)
        if found is not None:
            found.wait()

    def start(self, name: str) -> None:
        """Another one over the same state, which answers when this returns."""
        quiet = subprocess.DEVNULL
        command = [installed("juniper"), name, "serve"]
        self.started[name] = subprocess.Popen(
            command, env=dict(self.company.env), stdin=quiet, stdout=quiet, stderr=quiet
        )
        well_known = "/.well-known/juniper" if name == "issuer" else "/healthz"
        tls = ssl.create_default_context(cafile=str(self.company.folder / "ca.pem"))

        def answers() -> bool:
            with suppress(OSError), urllib.request.urlopen(self.company.url(name) + well_known, context=tls):
                return True
            return False

        until(answers)

    def rows(self, path: str, state: str) -> int:
        """How many orders a ledger has in this state."""
        with closing(sqlite3.connect(f"file:{self.company.folder / path}?mode=ro", uri=True)) as ledger:
            (count,) = ledger.execute("SELECT count(*) FROM orders WHERE state = ?", (state,)).fetchone()
        return int(count)

    def asked(self) -> subprocess.Popen[bytes]:
        """A pull whose order has reached GitLab, which thinks about it."""
        self.company.drill("gitlab", "slow", SLOW, CREATE)
        command = [installed("docker-credential-juniper"), "get"]
        with tempfile.TemporaryFile() as said:
            said.write(self.pulls.host.encode())
            said.seek(0)
            pipe = subprocess.PIPE
            pull = subprocess.Popen(command, env=dict(self.company.env), stdin=said, stdout=pipe, stderr=pipe)
        until(lambda: self.rows("minter-state/ledger.db", "written") == 1)
        # From the ledger's page to the call is no time at all, and GitLab notes the call when it comes.
        time.sleep(0.2)
        return pull

    def settled(self, *, made: int) -> None:
        """Every deploy token is gone, and one that was made is among those: GitLab counts them."""
        self.company.drill("gitlab", "heal")
        self.pulls.until(lambda rows: not rows)
        self.company.sign_in()
        self.pulls.login()
        (row,) = self.pulls.deploy_tokens()
        assert row["id"] == made + 2, "one for the pull that died, one for this"


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it stayed as it was"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def up_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dying]:
    """A company of this file's own, whose processes die."""
    with company(tmp_path_factory.mktemp("minter")) as made:
        dying = Dying(Pulls(made))
        try:
            yield dying
        finally:
            for process in dying.started.values():
                process.terminate()
                process.wait(PATIENCE)


@pytest.fixture
def dying(up_here: Dying) -> Dying:
    """The same with nobody's deploy token at GitLab."""
    up_here.company.sign_in()
    up_here.pulls.until(lambda rows: not rows)
    return up_here


def made_so_far(dying: Dying) -> int:
    """The number of the last deploy token that GitLab made."""
    dying.pulls.login()
    (row,) = dying.pulls.deploy_tokens()
    dying.company.sign_in()
    dying.pulls.until(lambda rows: not rows)
    return int(row["id"])


def test_the_minter_dies_while_gitlab_makes_the_token(dying: Dying) -> None:
    made = made_so_far(dying)
    pull = dying.asked()
    dying.kill("minter")
    said, _ = pull.communicate(timeout=PATIENCE)
    assert (pull.returncode, said.count(b"\n")) == (1, 1)
    dying.pulls.until(lambda rows: [row["id"] for row in rows] == [made + 1])
    dying.start("minter")
    dying.settled(made=made)


def test_the_issuer_dies_while_gitlab_makes_the_token(dying: Dying) -> None:
    made = made_so_far(dying)
    pull = dying.asked()
    dying.kill("issuer")
    said, _ = pull.communicate(timeout=PATIENCE)
    assert (pull.returncode, said.count(b"\n")) == (1, 1)
    dying.start("issuer")
    until(lambda: dying.rows("minter-state/ledger.db", "written") == 0)
    dying.settled(made=made)


def test_the_agent_dies_while_gitlab_makes_the_token(dying: Dying) -> None:
    made = made_so_far(dying)
    pull = dying.asked()
    dying.company.kill_agent()
    pull.communicate(timeout=PATIENCE)
    assert pull.returncode == 1
    until(lambda: dying.rows("minter-state/ledger.db", "written") == 0)
    dying.company.juniper("up").good()
    dying.company.sign_in()
    dying.settled(made=made)


def test_a_minter_that_is_away_is_one_line_and_nothing_is_left_of_it(dying: Dying) -> None:
    dying.kill("minter")
    answer = dying.pulls.helper("docker-credential-juniper", "get", dying.pulls.host)
    assert (answer.status, answer.stderr) == (1, "")
    assert answer.stdout.startswith("the issuer cannot answer now: the minter cannot be asked now: ")
    dying.start("minter")
    dying.company.sign_in()
    dying.pulls.login()
    assert len(dying.pulls.deploy_tokens()) == 1


def test_nothing_secret_stands_in_any_ledger_or_log(dying: Dying) -> None:
    secret = dying.pulls.login()["Secret"].encode()
    folder = Path(dying.company.folder)
    holders = [path for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert holders == []
