"""The agent's own bad days: killed, restarted, started twice; and users it is not for."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.requirements import require_peer

from .company import Company, ends

pytestmark = pytest.mark.e2e
STRANGER = 65_534


@pytest.fixture(scope="module")
def again(up: Company) -> Iterator[Company]:
    """The company for tests after which another agent runs, or none, with nobody signed in."""
    up.juniper("up").good()
    yield up
    up.juniper("up").good()


def test_killed_and_started_again(again: Company) -> None:
    again.sign_in()
    again.helper().good()
    again.kill_agent()
    gone = again.juniper("status", "--json")
    assert gone.status == 1
    assert json.loads(gone.stdout)["agent"] is None
    assert again.juniper("status").stdout.strip().endswith("not running; run: juniper up")
    assert again.juniper("whoami").line == "juniper: no agent is running; run: juniper up"

    assert again.juniper("up").good() == "agent: started\n"
    assert again.juniper("up").good() == "agent: already running\n"
    assert again.helper().line == "juniper-aws: nobody is signed in; run: juniper login"
    again.juniper("login").good()
    again.helper().good()


def test_no_helper_starts_an_agent_at_a_socket_that_somebody_named(again: Company) -> None:
    """A repository's `.envrc` could have named it; who wants an agent there says so."""
    again.juniper("up").good()
    again.kill_agent()
    answer = again.helper()
    assert (answer.status, answer.stdout) == (1, "")
    assert answer.line == f"juniper-aws: no agent answers at {again.env['JUNIPER_SOCKET']}; run: juniper up"
    assert _agents(again) == []


def test_down_and_up(again: Company) -> None:
    again.juniper("up").good()
    assert again.juniper("down").good() == "agent: stopped\n"
    assert again.juniper("down").good() == "agent: not running\n"
    assert not Path(again.env["JUNIPER_SOCKET"]).exists()
    assert again.juniper("up").good() == "agent: started\n"


def test_many_starters_are_one_agent(again: Company) -> None:
    again.juniper("down").good()
    command = [again.env["PATH"].partition(":")[0] + "/juniper", "up"]
    starters = [subprocess.Popen(command, env=dict(again.env), stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [starter.wait(30) for starter in starters] == [0] * 4
    pid = json.loads(again.juniper("status", "--json").good())["agent"]["pid"]
    assert all(ends(found) for found in _agents(again) if found != pid)
    assert _agents(again) == [pid]


def _agents(company: Company) -> list[int]:
    """The processes that run ``juniperd`` for this company."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            variables = (entry / "environ").read_bytes()
        except OSError:
            continue
        if any(word.endswith(b"/juniperd") for word in command) and company.env["JUNIPER_SOCKET"].encode() in variables:
            found.append(int(entry.name))
    return found


@pytest.fixture
def open_folder(again: Company) -> Iterator[Path]:
    """The socket within another user's reach: what a loose umask or a stray chmod would do."""
    if os.geteuid() != 0:
        require_peer("a second user", "only root can be two users at once")
    again.juniper("up").good()
    path = Path(again.env["JUNIPER_SOCKET"])
    modes = {path: stat.S_IMODE(path.stat().st_mode)}
    widened = [parent for parent in path.parents if parent.stat().st_mode & 0o001 == 0]
    before = {parent: stat.S_IMODE(parent.stat().st_mode) for parent in widened}
    for parent in widened:
        parent.chmod(before[parent] | 0o011)
    path.chmod(0o666)
    yield path
    for found, mode in {**before, **modes}.items():
        found.chmod(mode)


ASK = """
import os, socket, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
with socket.socket(socket.AF_UNIX) as line:
    line.connect({path!r})
    try:
        line.sendall(bytes.fromhex({request!r}))
    except BrokenPipeError:
        pass  # refused before it was read
    answer = b""
    try:
        while data := line.recv(65536):
            answer += data
    except ConnectionResetError:
        pass  # so is this
sys.stdout.buffer.write(answer)
"""


def test_another_user_is_refused_at_the_socket(again: Company, open_folder: Path) -> None:
    from juniperd import wire

    request = wire.encode_request(wire.Request((b"juniper-aws", b"--scope", b"invoice-archive-writer"))).hex()
    program = ASK.format(uid=STRANGER, path=str(open_folder), request=request)
    interpreter = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    asked = subprocess.run([interpreter, "-c", program], capture_output=True, check=False, timeout=20)
    assert asked.returncode == 0, asked.stderr
    assert b"AccessKeyId" not in asked.stdout
    assert f"user {STRANGER} may not use the agent of user 0".encode() in asked.stdout
    assert "peer_refused" in (again.folder / "log" / "agent.log").read_text() or _agents(again) != [again.agent.pid]


def test_an_agent_of_another_user_is_not_asked(up: Company) -> None:
    if os.geteuid() != 0:
        require_peer("a second user", "only root can be two users at once")
    folder = Path(tempfile.mkdtemp(prefix="jun-"))
    folder.chmod(0o777)
    path = folder / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        # SO_PEERCRED names who called listen(2), so that has to be the stranger.
        os.seteuid(STRANGER)
        try:
            listener.bind(str(path))
            listener.listen(8)
        finally:
            os.seteuid(0)
        for words in (("juniper", "status"), ("juniper", "login"), ("juniper", "whoami")):
            refused = up.under(JUNIPER_SOCKET=str(path)).run(*words)
            assert refused.status == 1
            said = f"juniper: the agent at {path} belongs to another user"
            assert refused.line == f"{said}; run the tool as the user who runs juniperd"
        helper = up.under(JUNIPER_SOCKET=str(path)).helper()
        assert helper.status == 1
        assert f"the agent at {path} belongs to uid {STRANGER}, not to you; " in helper.line
    path.unlink()
    folder.rmdir()
