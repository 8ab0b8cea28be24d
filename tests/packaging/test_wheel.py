"""Wheels and source: each built as a release builds it, installed, and its helper asked."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from tests.requirements import require_peer

ROOT = Path(__file__).resolve().parents[2]
HELPERS = {"juniper-aws", "juniper-google", "juniper-kubectl", "docker-credential-juniper", "git-credential-juniper"}


def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "packaging/hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(source: Path, kind: str, folder: Path, **more: str) -> Path:
    """One artefact of a source tree."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(words, cwd=source, env={**os.environ, **more}, check=True, capture_output=True)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked: what is missing from it is missing from what is built below."""
    place = tmp_path_factory.mktemp("source")
    archive = build(ROOT, "sdist", place / "made")
    with tarfile.open(archive) as packed:
        packed.extractall(place, filter="data")
    return place / archive.name.removesuffix(".tar.gz")


@pytest.fixture
def without_compiler(tmp_path: Path) -> str:
    """A PATH on which no C compiler is found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for needed in ("sh", "env"):
        (folder / needed).symlink_to(str(shutil.which(needed)))
    return str(folder)


def environment(place: Path, wheel: Path) -> Path:
    """The wheel in an environment of its own; the libraries it needs are those that the tests run with."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(place / "bin/python"),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*pip, str(wheel)], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


def ask(program: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A program as a login shell would run it."""
    env: Mapping[str, str] = {"HOME": str(home), "USER": "dev", "PATH": os.defpath, "LANG": "C.UTF-8"}
    env = {**env, "XDG_RUNTIME_DIR": str(home), "XDG_CONFIG_HOME": str(home)}
    return subprocess.run([program, *words], env=env, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def home() -> Iterator[Path]:
    """One with a path short enough for the agent's socket."""
    with tempfile.TemporaryDirectory(prefix="jun-") as name:
        yield Path(name)


def check_installed(binaries: Path, home: Path) -> None:
    """Its programs find each other, and the helper tells that nobody has set it up."""
    assert {path.name for path in binaries.glob("*juniper*")} == HELPERS | {"juniper", "juniperd"}
    assert ask(binaries / "juniper", home, "--version").stdout == "juniper 0.1.0\n"
    try:
        assert ask(binaries / "juniper", home, "up").stdout == "agent: started\n"
        said = ask(binaries / "juniper-aws", home, "--scope", "archive")
        assert said.stdout == ""
        assert said.stderr.startswith(f"juniper-aws: no configuration at {home}/juniper/juniper.toml; "), said
        assert ask(binaries / "juniper", home, "status").stdout.startswith("agent     running, version 0.1.0")
    finally:
        ask(binaries / "juniper", home, "down")


def pages(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as packed:
        return {Path(name).name for name in packed.namelist() if ".data/data/share/" in name}


def test_with_a_compiler_the_wheel_is_for_its_target_and_the_helper_is_static(
    source: Path, tmp_path: Path, home: Path
) -> None:
    if shutil.which("cc") is None:
        require_peer("cc", "it compiles the helper")
    wheel = build(source, "wheel", tmp_path / "made")
    machine = os.uname().machine
    assert wheel.name == f"juniperd-0.1.0-py3-none-manylinux_2_17_{machine}.musllinux_1_1_{machine}.whl"
    binaries = environment(tmp_path / "venv", wheel)
    # A program that needs no loader names none (elf(5), PT_INTERP).
    assert b"/ld-" not in (binaries / "juniper-aws").read_bytes()[:4096]
    check_installed(binaries, home)


def test_without_a_compiler_the_wheel_is_for_everybody_and_the_twin_helps(
    source: Path, tmp_path: Path, without_compiler: str, home: Path
) -> None:
    wheel = build(source, "wheel", tmp_path / "made", PATH=without_compiler)
    assert wheel.name == "juniperd-0.1.0-py3-none-any.whl"
    binaries = environment(tmp_path / "venv", wheel)
    assert (binaries / "juniper-aws").read_text().startswith(f"#!{binaries}/python\n")
    check_installed(binaries, home)
    assert {"juniper.1", "juniperd.1", "juniper-debug.1", "juniper", "_juniper", "juniper.fish"} <= pages(wheel)


@pytest.mark.parametrize(
    ("target", "tag"),
    [
        ("x86_64-linux-gnu", "manylinux_2_17_x86_64.musllinux_1_1_x86_64"),
        ("aarch64-unknown-linux-gnu", "manylinux_2_17_aarch64.musllinux_1_1_aarch64"),
        ("x86_64-alpine-linux-musl", "manylinux_2_17_x86_64.musllinux_1_1_x86_64"),
        ("i686-linux-gnu", "manylinux_2_17_i686.musllinux_1_1_i686"),
        ("arm-linux-gnueabihf", "manylinux_2_17_armv7l.musllinux_1_1_armv7l"),
        ("arm64-apple-darwin23.5.0", "macosx_11_0_arm64"),
        ("aarch64-apple-darwin20", "macosx_11_0_arm64"),
        ("x86_64-apple-darwin22", "macosx_10_15_x86_64"),
    ],
)
def test_a_wheel_s_platform_is_the_compiler_s_target(target: str, tag: str) -> None:
    assert hook().platform_tag(target) == tag


@pytest.mark.parametrize("target", ["x86_64-w64-mingw32", "wasm32-unknown-emscripten", ""])
def test_for_another_system_none_is_made(target: str) -> None:
    with pytest.raises(ValueError, match="set JUNIPER_HELPER=twin"):
        hook().platform_tag(target)


def test_a_misspelt_choice_is_no_choice(tmp_path: Path) -> None:
    make: Callable[[Path, Mapping[str, str]], object] = hook().make_helper
    with pytest.raises(ValueError, match="JUNIPER_HELPER is neither static nor twin"):
        make(tmp_path, {"JUNIPER_HELPER": "statik"})


def test_what_the_package_brings_is_pinned_as_for_the_tests() -> None:
    every = (ROOT / "requirements.lock").read_text().splitlines()
    brought = (ROOT / "packaging/runtime.lock").read_text().splitlines()
    pins = [line.split(" ;")[0].rstrip(" \\") for line in brought if "==" in line]
    assert len(pins) > 20
    assert [pin for pin in pins if not any(line.startswith(pin) for line in every)] == []
