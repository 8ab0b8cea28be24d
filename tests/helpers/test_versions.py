"""Helpers and agents of two releases: whichever is older, the answer is understood, or is the cure."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from juniperd import wire
from tests.agent.test_process import CONFIG
from tests.agent.test_upgrade import Installed, until

from . import programs
from .programs import NAME, TARGETS, Helper, Outcome, build

NEXT = wire.VERSION + 1
CURE = "install helper and agent from one release, then run: juniper down; juniper up"
NOBODY = Outcome(77, b"", f"{NAME}: nobody is signed in; run: juniper login\n".encode())
ASK = ("--scope", "archive")
SOURCE = {"python": ("juniper_helper.py", "VERSION = {}\n"), "c": ("juniper.c", "    VERSION = {},\n")}


pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Helper]:
    """Makes a form of the helper as a next release would have it."""

    def make(form: str) -> Helper:
        folder = tmp_path_factory.mktemp(f"next-{form}")
        sources = Path(shutil.copytree(programs.SOURCES, folder / "helpers"))
        name, line = SOURCE[form if form == "python" else "c"]
        text = (sources / name).read_text()
        assert line.format(wire.VERSION) in text
        (sources / name).write_text(text.replace(line.format(wire.VERSION), line.format(NEXT)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(programs, "SOURCES", sources)
            return build(form, folder / "made")

    return make


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="juniper-") as name:
        (Path(name) / "juniper.toml").write_text(CONFIG)
        yield Path(name)


@contextmanager
def agent(place: Path, version: int, *spoken: int) -> Iterator[dict[str, str]]:
    """An agent that speaks these versions; the environment of its callers."""
    installed = Installed(place)
    if version != wire.VERSION:
        installed.change("wire.py", f"VERSION = {wire.VERSION}\n", f"VERSION = {version}\n")
    installed.change("wire.py", f"frozenset({{{wire.VERSION}}})", f"frozenset({set(spoken)})")
    # A warm path is not at hand without upstreams; what a helper gets for nobody signed in comes in the same frames.
    with installed.running():
        if wire.VERSION in spoken:
            until(place, lambda result: result["event"] == "result")
        yield {"JUNIPER_SOCKET": str(place / "agent.sock"), "HOME": str(place)}


@pytest.mark.parametrize("form", list(TARGETS))
def test_an_older_helper_is_answered_in_its_own_version(
    built: Callable[[str], Helper], newer: Callable[[str], Helper], place: Path, form: str
) -> None:
    with agent(place, NEXT, wire.VERSION, NEXT) as env:
        assert built(form).run(*ASK, env=env) == NOBODY
        assert newer(form).run(*ASK, env=env) == NOBODY


@pytest.mark.parametrize("form", list(TARGETS))
def test_a_newer_helper_gets_the_cure_of_an_older_agent(newer: Callable[[str], Helper], place: Path, form: str) -> None:
    said = f"juniper: the helper speaks frame version {NEXT}, this agent speaks {wire.VERSION}; {CURE}\n"
    with agent(place, wire.VERSION, wire.VERSION) as env:
        assert newer(form).run(*ASK, env=env) == Outcome(76, b"", said.encode())


@pytest.mark.parametrize("form", list(TARGETS))
def test_a_helper_two_releases_old_gets_the_cure(
    built: Callable[[str], Helper], newer: Callable[[str], Helper], place: Path, form: str
) -> None:
    last = NEXT + 1
    said = f"juniper: the helper speaks frame version {wire.VERSION}, this agent speaks {last}; {CURE}\n"
    with agent(place, last, NEXT, last) as env:
        listening(newer(form), env)
        assert built(form).run(*ASK, env=env) == Outcome(76, b"", said.encode())


def listening(helper: Helper, env: dict[str, str]) -> None:
    """Until the agent answers a helper that it understands."""
    while (outcome := helper.run(*ASK, env=env)) != NOBODY:
        assert b"no agent answers" in outcome.stderr


def test_an_upgrade_of_both_heals_itself(newer: Callable[[str], Helper], place: Path) -> None:
    """The new helper's own refused call is what has the agent look at the disk."""
    helper = newer("python")
    installed = Installed(place)
    env = {"JUNIPER_SOCKET": str(place / "agent.sock"), "HOME": str(place)}
    with installed.running() as process:
        until(place, lambda result: result["pid"] == process.pid)
        assert helper.run(*ASK, env=env).status == 76
        installed.change("wire.py", f"VERSION = {wire.VERSION}\n", f"VERSION = {NEXT}\n")
        installed.change("wire.py", f"frozenset({{{wire.VERSION}}})", f"frozenset({{{wire.VERSION}, {NEXT}}})")
        installed.upgrade()
        while (outcome := helper.run(*ASK, env=env)) != NOBODY:
            assert outcome.status == 76
