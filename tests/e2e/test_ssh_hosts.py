"""A session's socket behind a relay, as ssh forwards it to another host: what docs/ssh-hosts.md says of it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.requirements import require_peer

from .company import Company, shell_variables

pytestmark = pytest.mark.e2e
JANITOR = "invoice-archive-janitor"
OPEN = "session open shop/billing --env staging --for 10m --scope billing-api-reader --scope billing-debugger --scope"


def carry(source: socket.socket, target: socket.socket) -> None:
    """Everything from one to the other, and then its end."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def pass_on(caller: socket.socket, path: str) -> None:
    """One caller joined to whoever answers at ``path``; where nobody does, it is hung up on."""
    with caller, socket.socket(socket.AF_UNIX) as home, suppress(ConnectionRefusedError, FileNotFoundError):
        home.connect(path)
        back = threading.Thread(target=carry, args=(home, caller))
        back.start()
        carry(caller, home)
        back.join()


@contextmanager
def forwarded(path: str, place: Path) -> Iterator[str]:
    """A socket of this user's that leads to another."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(place))
        door.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = door.accept()
                    threading.Thread(target=pass_on, args=(caller, path)).start()

        threading.Thread(target=serve).start()
        try:
            yield str(place)
        finally:
            door.shutdown(socket.SHUT_RDWR)
            place.unlink()


def listed(bare: Company) -> str:
    """What kubectl sees with a kubeconfig that was copied there."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        require_peer("kubectl", "one of the tools that a session is lent to")
    command = [kubectl, "-n", "billing", "get", "pods", "-l", "app=api", "-o", "name"]
    return subprocess.run(
        command, env={**bare.env, **bare.changed}, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def test_a_forwarded_session_serves_its_scopes_and_nothing_else(shop: Company, place: Path) -> None:
    opened = shell_variables(shop.juniper(*OPEN.split(), JANITOR).good())["JUNIPER_SESSION_SOCKET"]
    with forwarded(opened, place / "remote.sock") as remote:
        there = shop.under(JUNIPER_SESSION_SOCKET=remote)
        assert json.loads(there.helper(JANITOR).good())["Version"] == 1
        # Nothing else is set up there: no configuration, no agent.
        bare = there.under(JUNIPER_SOCKET=f"{place}/nobody.sock", JUNIPER_CONFIG=f"{place}/nothing.toml")
        assert (
            bare.juniper("token", "--audience", "billing-api", "--scope", "billing-api-reader").good().count(".") == 2
        )
        assert listed(bare) == "pod/api-5d9c7b6f4-7xk2p\n"
        executed = bare.juniper("exec", "--scope", JANITOR, "--", "true")
        assert executed.line == "juniper: no agent is running; run: juniper up"
        assert "is not of this session" in there.helper("ledger-journal-reader").line
        control = shop.under(JUNIPER_SOCKET=remote).juniper("lock")
        assert control.status == 1
        assert "a session's socket answers tools alone" in control.line
        shop.under(JUNIPER_SESSION_SOCKET=opened).juniper("session", "close").good()
        assert there.helper(JANITOR).line == "juniper-aws: the agent ended before its answer did; run: juniper status"
    assert there.helper(JANITOR).line == "juniper-aws: the session has ended; run: juniper session open"
