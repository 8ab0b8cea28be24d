"""``juniper up`` and ``down`` where a socket unit is enabled, and where there is none, or no manager at all."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.test_process import CONFIG

from .user_manager import PATIENCE, UserManager

JUNIPER = Path(sys.executable).with_name("juniper")
ASKED_FIRST = [
    ["--user", "is-enabled", "juniperd.socket"],
    ["--user", "is-active", "juniperd.socket", "juniperd.service"],
]
BY_HAND = "agent: already running, started by hand; to leave it to juniperd.socket run: juniper down; juniper up\n"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")


class Session:
    """One login of a person: folders of their own, and perhaps a user manager."""

    def __init__(self, folder: Path) -> None:
        self.runtime = folder / "run"
        self.bin = folder / "bin"
        for made in (self.runtime, self.bin, folder / "config" / "juniper"):
            made.mkdir(mode=0o700, parents=True)
        (folder / "config" / "juniper" / "juniper.toml").write_text(CONFIG)
        self.env = {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
            "PATH": f"{self.bin}:/usr/bin:/bin",
        }
        self.manager: UserManager | None = None

    def managed(self, *, enabled: bool = True) -> UserManager:
        self.manager = UserManager(self.runtime, self.bin, self.env, enabled=enabled)
        return self.manager

    def juniper(self, *arguments: str, **extra: str) -> tuple[int, str]:
        done = subprocess.run(
            [JUNIPER, *arguments],
            env={**self.env, **extra},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def session() -> Iterator[Session]:
    with tempfile.TemporaryDirectory(prefix="juniper-") as name:
        made = Session(Path(name))
        yield made
        if made.manager is not None:
            made.manager.close()
        else:
            made.juniper("down")


def test_up_has_the_manager_listen_and_down_ends_the_service_alone(session: Session) -> None:
    manager = session.managed()
    assert session.juniper("up") == (0, "agent: started, by juniperd.socket\n")
    assert manager.serves()
    assert session.juniper("up") == (0, "agent: already running, by juniperd.socket\n")
    told = "juniperd.socket starts it when a tool asks\n"
    assert session.juniper("down") == (0, f"agent: stopped; {told}")
    assert not manager.serves()
    assert manager.path.is_socket()
    assert session.juniper("down") == (0, f"agent: not running; {told}")
    assert not manager.serves(), "it is not started in order to be stopped"
    assert session.juniper("up") == (0, "agent: started, by juniperd.socket\n")
    assert "pid" in session.juniper("status")[1]


def test_a_tool_that_asks_after_down_wakes_the_next_one(session: Session) -> None:
    manager = session.managed()
    session.juniper("up")
    session.juniper("down")
    helper = JUNIPER.with_name("juniper-aws")
    done = subprocess.run(
        [helper, "--scope", "archive"], env=session.env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert "nobody is signed in" in done.stderr
    assert manager.serves()


def test_up_says_so_where_an_agent_was_started_by_hand(session: Session) -> None:
    assert session.juniper("up") == (0, "agent: started\n")
    manager = session.managed()
    assert session.juniper("up") == (0, BY_HAND)
    assert not manager.serves()
    assert session.juniper("down") == (0, "agent: stopped\n")
    assert session.juniper("up") == (0, "agent: started, by juniperd.socket\n")


def test_a_unit_that_is_not_enabled_is_left_alone(session: Session) -> None:
    manager = session.managed(enabled=False)
    assert session.juniper("up") == (0, "agent: started\n")
    assert session.juniper("up") == (0, "agent: already running\n")
    assert session.juniper("down") == (0, "agent: stopped\n")
    assert {tuple(arguments) for arguments in manager.asked} == {tuple(ASKED_FIRST[0])}


def test_who_chose_another_socket_is_not_the_units_business(session: Session) -> None:
    manager = session.managed()
    own = {"JUNIPER_SOCKET": str(session.runtime / "own.sock")}
    assert session.juniper("up", **own) == (0, "agent: started\n")
    assert session.juniper("down", **own) == (0, "agent: stopped\n")
    assert manager.asked == []


def test_a_unit_that_does_not_start_is_named_with_what_shows_why(session: Session) -> None:
    session.managed().fails = "no such folder"
    said = "juniper: systemctl cannot start juniperd.socket (Job for juniperd.socket failed (start): no such folder)"
    assert session.juniper("up") == (1, f"{said}; run: systemctl --user status juniperd.socket\n")


def test_without_systemctl_it_is_as_without_a_unit(session: Session) -> None:
    session.managed()
    (session.bin / "systemctl").unlink()
    assert session.juniper("up", PATH=str(session.bin)) == (0, "agent: started\n")
    assert session.juniper("down", PATH=str(session.bin)) == (0, "agent: stopped\n")


def test_where_no_manager_runs_systemctl_is_not_even_started(session: Session) -> None:
    (session.bin / "systemctl").write_text(f"#!/bin/sh\ntouch {session.bin}/asked\n")
    (session.bin / "systemctl").chmod(0o755)
    assert session.juniper("up") == (0, "agent: started\n")
    assert session.juniper("down") == (0, "agent: stopped\n")
    assert not (session.bin / "asked").exists()


@pytest.mark.skipif(not Path("/usr/bin/systemctl").exists(), reason="Debian has systemctl in the package systemd")
def test_the_real_systemctl_without_its_manager_says_no_and_it_is_as_today(session: Session) -> None:
    """A socket at which nobody listens, as a manager that was killed leaves it."""
    (session.runtime / "systemd").mkdir()
    (session.runtime / "systemd" / "private").touch()
    assert session.juniper("up") == (0, "agent: started\n")
    assert session.juniper("down") == (0, "agent: stopped\n")


# --- set-up -----------------------------------------------------------------------------------------------------------


def unit_files(session: Session) -> dict[str, str]:
    folder = Path(session.env["XDG_CONFIG_HOME"], "systemd/user")
    return {path.name: path.read_text() for path in folder.glob("juniperd.*") if path.suffix in {".socket", ".service"}}


def test_set_up_installs_enables_and_starts_and_undo_takes_it_back(session: Session) -> None:
    manager = session.managed(enabled=False)
    assert session.juniper("setup", "unit", "--diff")[0] == 0
    assert (unit_files(session), manager.enabled) == ({}, False)
    status, said = session.juniper("setup", "unit")
    assert (status, "done: systemctl --user enable --now juniperd.socket" in said) == (0, True), said
    files = unit_files(session)
    assert sorted(files) == ["juniperd.service", "juniperd.socket"]
    assert f"\nExecStart={JUNIPER.with_name('juniperd')}\n" in files["juniperd.service"]
    assert manager.path.is_socket()
    manager.asked.clear()
    assert session.juniper("setup", "unit")[0] == 0
    assert {words[1] for words in manager.asked} <= {"is-enabled", "is-active"}, (
        "the second time there is nothing to do"
    )
    session.juniper("up")
    assert manager.serves()
    assert session.juniper("setup", "unit", "--undo")[0] == 0
    assert (unit_files(session), manager.enabled, manager.serves()) == ({}, False, False)
    assert session.juniper("setup", "unit", "--undo")[0] == 0


def test_set_up_does_not_put_out_an_agent_that_may_hold_the_only_copy(session: Session) -> None:
    manager = session.managed(enabled=False)
    session.juniper("up")
    status, said = session.juniper("setup", "unit")
    assert (status, "done: systemctl --user enable juniperd.socket\nnext: juniper down; juniper up\n" in said) == (
        0,
        True,
    )
    assert not manager.serves()
    assert session.juniper("up") == (0, BY_HAND)
    session.juniper("down")


def test_set_up_leaves_a_unit_that_somebody_wrote(session: Session) -> None:
    manager = session.managed(enabled=False)
    place = Path(session.env["XDG_CONFIG_HOME"], "systemd/user/juniperd.socket")
    place.parent.mkdir(parents=True)
    place.write_text("[Socket]\n")
    status, said = session.juniper("setup", "unit")
    assert (status, said) == (
        1,
        f"juniper: {place} is not as juniper wrote it; move it away, then run: juniper setup unit\n",
    )
    assert (place.read_text(), manager.enabled) == ("[Socket]\n", False)


def test_without_a_manager_there_is_nothing_to_set_up(session: Session) -> None:
    said = (
        "juniper: no systemd user manager answers for this agent; leave it: the first tool that asks starts the agent\n"
    )
    assert session.juniper("setup", "unit") == (1, said)
