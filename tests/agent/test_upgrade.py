"""An agent whose package changes on disk becomes the new one, and nobody who asks meanwhile notices."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from keyring.errors import KeyringLocked

import juniperd
from juniperd.upgrade import package_stamp
from tests.requirements import require_peer

from .doubles import Doubles, FakeClock, doubles
from .harness import serving, speak
from .harness import until as settled
from .manager import Manager, knock
from .test_process import CONFIG, ask, environment
from .vault import FakeVault

PATIENCE = 20.0
NEW = "99.0"
SCRIPT = """#!{python}
import sys
sys.path.insert(0, {library!r})
from juniperd.cli.daemon import main
sys.exit(main())
"""
QUICK = {"upgrade.py": {"PACE = 10.0": "PACE = 0.05", "SETTLE = 5.0": "SETTLE = 0.1"}}
QUICK["identity/device.py"] = {"SHORTEST_INTERVAL = 1.0": "SHORTEST_INTERVAL = 0.01"}


class Installed:
    """A copy of the package that an upgrade may change, with its program; its pauses are those of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "lib" / "juniperd"
        shutil.copytree(Path(juniperd.__file__).parent, self.package)
        for name, changes in QUICK.items():
            for old, new in changes.items():
                self.change(name, old, new)
        self.program = folder / "bin" / "juniperd"
        self.program.parent.mkdir()
        self.write_program(self.package.parent)

    def write_program(self, library: Path) -> None:
        """The program of the package in ``library``; it stays where it is."""
        self.program.write_text(SCRIPT.format(python=sys.executable, library=str(library)))
        self.program.chmod(0o755)

    def change(self, name: str, old: str, new: str) -> None:
        """As an installer does it: a new file in the old one's place."""
        path = self.package / name
        text = path.read_text()
        assert old in text, (name, old)
        path.with_suffix(".new").write_text(text.replace(old, new))
        path.with_suffix(".new").replace(path)

    def upgrade(self, version: str = NEW) -> None:
        self.change("__init__.py", juniperd.__version__, version)

    @contextmanager
    def running(self, *before: str, **extra: str) -> Iterator[subprocess.Popen[str]]:
        command = [*before, str(self.program)]
        env = environment(self.folder, **extra)
        with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def installed(folder: Path) -> Installed:
    (folder / "juniper.toml").write_text(CONFIG)
    return Installed(folder)


def said(answer: bytes) -> Any:
    """The result of a control request, out of its one frame."""
    assert answer[:2] == b"\x01o", answer
    return json.loads(answer[6 : 6 + int.from_bytes(answer[2:6])])


def until(folder: Path, holds: Callable[[Any], bool], verb: bytes = b"ping") -> Any:
    """Ask, again and again as tools do, until the answer is the one waited for."""
    deadline = time.monotonic() + PATIENCE
    while not holds(result := said(ask(folder, b"juniper", verb))):
        assert time.monotonic() < deadline, result
    return result


class Callers:
    """Three who ask all the time; an answer that is none ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.versions: list[str] = []
        self.pids: set[int] = set()
        self.failures: list[object] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]

    def _ask(self) -> None:
        try:
            while not self._stop.is_set():
                result = said(ask(self.folder, b"juniper", b"ping"))
                self.versions.append(result["version"])
                self.pids.add(result["pid"])
        except Exception as failure:  # noqa: BLE001 - shown by the test's own thread
            self.failures.append(failure)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_an_upgrade_under_callers_fails_none_of_them(installed: Installed) -> None:
    with installed.running() as process:
        until(installed.folder, lambda result: result["version"] == juniperd.__version__)
        made = (installed.folder / "agent.sock").stat().st_ino
        with Callers(installed.folder) as callers:
            installed.upgrade()
            until(installed.folder, lambda result: result["version"] == NEW)
        assert callers.failures == []
        assert callers.pids == {process.pid}, "it is the same process, so whoever watches it sees no end"
        assert {juniperd.__version__, NEW} == set(callers.versions)
        assert (installed.folder / "agent.sock").stat().st_ino == made
        process.terminate()
        _out, log = process.communicate(timeout=PATIENCE)
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events == ["started", "upgraded", "stopped", "started", "stopped"]
    assert process.returncode == 0
    assert not (installed.folder / "agent.sock").exists(), "the successor knows that the socket is its own"


def test_the_successor_holds_the_lock_and_can_be_succeeded(installed: Installed) -> None:
    with installed.running():
        until(installed.folder, lambda result: result["version"] == juniperd.__version__)
        # Of different lengths: Python takes a compiled file for that of any source of the same second and size.
        for old, new in ((juniperd.__version__, "98.0"), ("98.0", "99.0.1")):
            installed.change("__init__.py", old, new)
            until(installed.folder, lambda result, new=new: result["version"] == new)  # type: ignore[misc]  # bound at once
            with installed.running() as second:
                assert second.wait(timeout=PATIENCE) == 0
        assert said(ask(installed.folder, b"juniper", b"ping"))["version"] == "99.0.1"


def test_half_an_installation_is_not_started(installed: Installed) -> None:
    with installed.running() as process:
        until(installed.folder, lambda result: result["version"] == juniperd.__version__)
        (installed.package / "wire.py").rename(installed.package / "wire.away")
        installed.upgrade()
        status = until(installed.folder, lambda r: "does not start" in str(r["agent"]["upgrade_note"]), b"status")
        assert (status["agent"]["version"], status["agent"]["pid"]) == (juniperd.__version__, process.pid)
        assert status["agent"]["upgrade_note"].endswith("the new one does not start; reinstall juniperd")
        (installed.package / "wire.away").rename(installed.package / "wire.py")
        until(installed.folder, lambda result: result["version"] == NEW)


def test_a_package_that_moved_is_an_upgrade_too(installed: Installed) -> None:
    """As where another Python took the place of the one before."""
    with installed.running():
        until(installed.folder, lambda result: result["version"] == juniperd.__version__)
        elsewhere = installed.folder / "elsewhere"
        shutil.copytree(installed.package.parent, elsewhere)
        installed.write_program(elsewhere)
        old, installed.package = installed.package, elsewhere / "juniperd"
        installed.upgrade()
        shutil.rmtree(old)
        until(installed.folder, lambda result: result["version"] == NEW)


def test_an_agent_at_systemds_socket_leaves_it_to_its_successor(installed: Installed) -> None:
    manager = Manager(installed.folder)
    try:
        caller = knock(manager, b"juniper", b"ping")
        service = manager.start_when_asked(str(installed.program))
        caller.close()
        until(installed.folder, lambda result: result["version"] == juniperd.__version__)
        installed.upgrade()
        assert until(installed.folder, lambda result: result["version"] == NEW)["pid"] == service.pid
        service.terminate()
        assert service.wait(timeout=PATIENCE) == 0
        assert manager.path.is_socket()
    finally:
        manager.close()


# --- with somebody signed in ------------------------------------------------------------------------------------------


@pytest.fixture
async def now() -> AsyncIterator[Doubles]:
    """Upstreams on the machine's own clock, as a process has it."""
    async with doubles(FakeClock(time.time())) as made:
        made.idp.interval = 0.01
        yield made


def configure(installed: Installed, world: Doubles, store: str) -> None:
    text = f'version = 1\nsandbox = true\n[issuer.team]\nurl = "{world.issuer.url}"\nidp = "{world.idp.url}"\n'
    (installed.folder / "juniper.toml").write_text(f'{text}[store]\nkind = "{store}"\n')


async def soon(path: Path, holds: Callable[[Any], bool]) -> Any:
    """The same for a test whose loop serves the upstreams."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                status: Any = (await speak(path, "juniper", "status")).events[-1]
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(0.01)  # it has not made its socket yet
                continue
            if holds(status):
                return status


async def test_the_only_copy_of_a_sign_in_keeps_the_old_agent_and_status_says_so(
    installed: Installed, now: Doubles
) -> None:
    configure(installed, now, "memory")
    path = installed.folder / "agent.sock"
    with installed.running():
        await soon(path, lambda status: status["agent"]["version"] == juniperd.__version__)
        assert (await speak(path, "juniper", "login")).status == 0
        assert (await speak(path, "juniper-aws", "--scope", "archive")).status == 0
        installed.upgrade()
        status = await soon(path, lambda status: "only copy" in str(status["agent"]["upgrade_note"]))
        assert status["agent"]["upgrade_note"] == (
            f"juniperd was upgraded on disk, and this one is still {juniperd.__version__}; "
            "the only copy of the sign-in is in its memory; run: juniper down; juniper login"
        )
        assert (await speak(path, "juniper-aws", "--scope", "archive")).status == 0
        assert len(status["leases"]) == 1
        await speak(path, "juniper", "logout")
        await soon(path, lambda status: status["agent"]["version"] == NEW)


KEYRING = 'printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null; exec "$0"'


async def test_a_sign_in_in_the_keyring_outlives_the_upgrade(installed: Installed, now: Doubles) -> None:
    if not all(shutil.which(name) for name in ("gnome-keyring-daemon", "dbus-run-session")):
        require_peer("gnome-keyring", "gnome-keyring-daemon and dbus-run-session are not both installed")
    configure(installed, now, "keyring")
    path = installed.folder / "agent.sock"
    runtime = installed.folder / "runtime"
    runtime.mkdir(mode=0o700)
    session = ("dbus-run-session", "--", "sh", "-c", KEYRING)
    homes = {"XDG_RUNTIME_DIR": str(runtime), "XDG_DATA_HOME": str(installed.folder / "data")}
    with installed.running(*session, **homes) as process:
        await soon(path, lambda status: status["agent"]["version"] == juniperd.__version__)
        login = await speak(path, "juniper", "login")
        assert login.status == 0, login.stderr
        assert (await speak(path, "juniper-aws", "--scope", "archive")).status == 0
        installed.upgrade()
        status = await soon(path, lambda status: status["agent"]["version"] == NEW)
        assert status["agent"]["upgrade_note"] is None
        assert status["leases"] == []
        assert status["sign_in"]["state"] == "signed-in"
        assert (await speak(path, "juniper-aws", "--scope", "archive")).status == 0
        assert now.idp.calls["/device"] == 1
        await speak(path, "juniper", "down")
        await asyncio.to_thread(process.wait, PATIENCE)  # the session ends its keyring with its bus


async def test_leases_that_could_not_be_renewed_now_keep_the_old_agent(world: Doubles, folder: Path) -> None:
    async with serving(world, folder, vault=FakeVault()) as running:
        await running.login()
        assert (await running.aws()).status == 0
        assert await running.agent._would_lose() is None
        world.issuer.fault["/token"] = (503, {"error": "temporarily_unavailable"})
        world.clock.now += 2750
        assert (await running.aws()).status == 0
        assert "nobody could renew now; run: juniper status" in str(await running.agent._would_lose())


async def test_a_keyring_that_was_locked_since_keeps_the_old_agent(world: Doubles, folder: Path) -> None:
    vault = FakeVault()
    async with serving(world, folder, vault=vault) as running:
        await running.login()
        vault.fails = KeyringLocked("locked")
        assert "only copy" in str(await running.agent._would_lose())
        vault.fails = None
        assert await running.agent._would_lose() is None
        vault.entries["juniper", world.issuer.url] = "another agent's"
        assert "only copy" in str(await running.agent._would_lose())


async def test_a_login_under_way_is_not_cut_off_by_an_upgrade(world: Doubles, folder: Path) -> None:
    async with serving(world, folder) as running:
        assert not running.agent._occupied()
        world.idp.approve = "authorization_pending"
        login = asyncio.create_task(running.control("login"))
        await settled(lambda: world.idp.calls["/token"])
        assert running.agent._occupied()
        world.idp.approve = None
        assert (await login).status == 0
        await settled(lambda: not running.agent._occupied())


async def test_a_flight_that_its_caller_has_left_is_waited_for(world: Doubles, folder: Path) -> None:
    async with serving(world, folder) as running:
        await running.login()
        await settled(lambda: not running.agent._occupied())
        asked = asyncio.create_task(running.aws())
        await settled(lambda: running.agent.broker.flying)
        asked.cancel()
        await settled(lambda: not running.agent._server or not running.agent._server.occupied)
        assert running.agent._occupied() or world.sts.calls["/"] == 1


def test_an_upgrade_that_was_undone_leaves_no_note(installed: Installed) -> None:
    installed.change("upgrade.py", "SETTLE = 0.1", "SETTLE = 3600.0")
    with installed.running():
        until(installed.folder, lambda result: result["version"] == juniperd.__version__)
        kept = installed.package / "__init__.kept"
        os.link(installed.package / "__init__.py", kept)
        installed.upgrade()
        until(installed.folder, lambda r: "gives way as soon" in str(r["agent"]["upgrade_note"]), b"status")
        kept.replace(installed.package / "__init__.py")
        until(installed.folder, lambda r: r["agent"]["upgrade_note"] is None, b"status")


async def test_an_agent_that_was_told_to_end_does_not_become_another_one(world: Doubles, folder: Path) -> None:
    async with serving(world, folder) as running:
        upgrade = running.agent.upgrade
        upgrade._running = (1, 1, 1)
        upgrade._tried = package_stamp()
        running.agent.leave()
        await settled(running.agent._shut.is_set)
        upgrade.rested()
        assert (upgrade._timer, upgrade._task) == (None, None)
        assert not running.agent.gives_way
