"""The agent as one folder that brings its own interpreter: ``bundle.py FOLDER`` puts its archive there.

It is for images without Python, and lies wherever it is unpacked. What it holds is this machine's: the interpreter, its
standard library, and every shared library that these need, the loader and the C library included.
"""

from __future__ import annotations

import argparse
import gzip
import platform
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from parts import PROGRAMS, ROOT, WHEN, compiled, installed, run, same_times, wheel_of

LEFT_OUT = frozenset(
    {
        *("__pycache__", "curses", "dbm", "distutils", "ensurepip", "idlelib", "lib2to3", "msilib", "pydoc_data"),
        *("site-packages", "test", "tests", "tkinter", "turtledemo", "unittest", "venv", "xmlrpc"),
    }
)
"""Folders of the standard library that no module of the agent's imports from."""
NOT_NEEDED = re.compile(r"_(ctypes_)?test|_?xx|_(crypt|curses|dbm|gdbm|tkinter)|nis\.|ossaudiodev|readline|spwd")
"""Extension modules of its by the beginning of their names: tests, terminals, and what brings libraries of its own."""
AWS = frozenset({"sts", "ecr"})
"""The services whose descriptions the agent asks botocore for."""
PROGRAM = """\
import os
import sys
from pathlib import Path

home = Path(__file__).parents[2]
sys.argv[0] = str(home / "bin" / Path(__file__).name)
sys.path.insert(0, str(home / "lib/juniper"))
# Set aside by the launcher: for what is started from here, and too late for this process's own loader.
for name in [name for name in os.environ if name.startswith("JUNIPER_ASIDE_")]:
    value, plain = os.environ.pop(name), name.removeprefix("JUNIPER_ASIDE_")
    if plain.startswith("LD_") or plain == "GLIBC_TUNABLES":
        os.environ[plain] = value
from {module} import main

sys.exit(main())
"""
_RPATH = frozenset({15, 29})
"""``DT_RPATH`` and ``DT_RUNPATH`` (System V ABI): folders of the machine that built a library."""


def main() -> None:
    """Build it and say where it is."""
    parser = argparse.ArgumentParser(description="build the folder that brings its own interpreter")
    parser.add_argument("folder", type=Path, help="where to put its archive")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="juniper-bundle-") as place:
        print(build(Path(place), folder))


def build(place: Path, folder: Path) -> Path:
    """The archive, made of a tree in ``place``."""
    tree = place / "tree"
    (tree / "bin").mkdir(parents=True)
    version = _ours(tree, wheel_of(place))
    library = _standard_library(tree)
    shared = _shared(tree)
    _licences(tree, library, shared)
    _launchers(tree)
    compiled(tree / "lib/juniper", "juniper")
    compiled(tree / library.relative_to(tree), "python")
    same_times(tree)
    top = f"juniper-{version}-linux-{platform.machine()}"
    return _packed(tree, folder / f"{top}.tar.gz", top)


def _ours(tree: Path, wheel: Path) -> str:
    """The package and what it imports, without what of it is for other services of AWS, or for developers; the version."""
    lib = tree / "lib/juniper"
    version = installed(lib, wheel)
    helpers = sorted(path for path in (lib / "bin").glob("*juniper*") if path.name not in PROGRAMS)
    for helper in helpers:
        (tree / "bin" / helper.name).hardlink_to(helpers[0])
    for spare in (lib / "bin", lib / "share", lib / "boto3/data", lib / "boto3/examples"):
        shutil.rmtree(spare, ignore_errors=True)
    for service in (lib / "botocore/data").iterdir():
        if service.is_dir() and service.name not in AWS:
            shutil.rmtree(service)
    for spare in [*lib.rglob("tests"), *lib.rglob("test")]:
        shutil.rmtree(spare, ignore_errors=True)  # one within another has gone with it
    return version


def _standard_library(tree: Path) -> Path:
    """This interpreter's, where the interpreter looks for it from beside its launcher."""
    theirs = Path(sysconfig.get_path("stdlib"))
    ours = tree / "lib" / theirs.name

    def spare(folder: str, names: list[str]) -> set[str]:
        dynamic = Path(folder).name == "lib-dynload"
        return {
            name
            for name in names
            if name in LEFT_OUT or name.startswith("config-") or (dynamic and NOT_NEEDED.match(name))
        }

    shutil.copytree(theirs, ours, ignore=spare)
    return ours


def _shared(tree: Path) -> dict[str, Path]:
    """The interpreter and every library below its name; each with where it comes from."""
    folder = tree / "lib/shared"
    folder.mkdir()
    python = Path(sys._base_executable).resolve()  # type: ignore[attr-defined] # noqa: SLF001 - the environment's own is a link
    found = {"python": python}
    # glibc opens it when a thread ends early, without any library having asked for it.
    found["libgcc_s.so.1"] = Path(run("cc", "-print-file-name=libgcc_s.so.1").strip())
    for one in [python, *tree.rglob("*.so"), *tree.rglob("*.so.*")]:
        found |= dict(_needed_by(one))
    for name, path in found.items():
        shutil.copy(path.resolve(), folder / name)
    for one in [*folder.iterdir(), *tree.rglob("*.so"), *tree.rglob("*.so.*")]:
        _cleaned(one)
    return found


def _needed_by(program: Path) -> Iterator[tuple[str, Path]]:
    """Names and files of the libraries that the loader of this machine finds for it, and that loader itself."""
    for line in run("ldd", str(program)).splitlines():
        if (loader := re.match(r"\s+(/\S+/ld\S*) \(0x", line)) is not None:
            yield "loader", Path(loader[1])
        elif (library := re.match(r"\s+(\S+) => (/\S+) \(0x", line)) is not None:
            yield library[1], Path(library[2])
        elif "not found" in line:
            msg = f"{program} needs a library that is not here: {line.strip()}"
            raise SystemExit(msg)


def _cleaned(file: Path) -> None:
    """Without symbols for debuggers, and without the folders of the machine that built it."""
    if file.name != "loader":  # the C library and its loader speak through symbols of their own
        run("strip", "--strip-unneeded", str(file))
    data = bytearray(file.read_bytes())
    start, _, _, _, size, count = struct.unpack_from("<QQIHHH", data, 32)
    for header in range(start, start + size * count, size):
        kind, _, at, _, _, length = struct.unpack_from("<IIQQQQ", data, header)
        for entry in range(at, at + length, 16) if kind == 2 else ():
            (tag,) = struct.unpack_from("<q", data, entry)
            if tag in _RPATH:
                struct.pack_into("<Q", data, entry + 8, 0)  # the empty name, with which each table of names begins
    file.write_bytes(data)


def _launchers(tree: Path) -> None:
    """One program under each name that starts the interpreter, and what each of them is to run."""
    run("make", "-s", "-C", str(ROOT / "helpers"), f"BUILD={tree.parent}", f"{tree.parent}/launcher")
    (tree / "lib/programs").mkdir()
    for name, module in PROGRAMS.items():
        (tree / "lib/programs" / name).write_text(PROGRAM.format(module=module), encoding="utf-8")
        (tree / "bin" / name).hardlink_to(tree.parent / "launcher")
    (tree / "lib/python3").hardlink_to(tree.parent / "launcher")


def _licences(tree: Path, library: Path, shared: dict[str, Path]) -> None:
    """Ours, the interpreter's, and those of the system's libraries; every other library has its own in ``*.dist-info``."""
    folder = tree / "licences"
    folder.mkdir()
    shutil.copy(ROOT / "LICENSE", folder / "juniper")
    if (library / "LICENSE.txt").exists():  # else its package has one, as the system's own interpreter's has
        shutil.copy(library / "LICENSE.txt", folder / "python")
    for path in sorted(set(shared.values())):
        if (package := _package(path)) is not None:
            shutil.copy(f"/usr/share/doc/{package}/copyright", folder / package)
        elif not path.resolve().is_relative_to(Path(sys.base_prefix).resolve()):  # the interpreter's own
            msg = f"no package of this system says under which licence {path} is"
            raise SystemExit(msg)


def _package(path: Path) -> str | None:
    """The Debian package that brought a file; one that a merged /usr shows at a second place has its name by the other."""
    for name in (str(path), str(path.resolve()), str(path.resolve()).removeprefix("/usr")):
        words = ["dpkg-query", "-S", name]
        found = subprocess.run(words, capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.partition(":")[0]
    return None


def _packed(tree: Path, archive: Path, top: str) -> Path:
    """The archive: all of it root's, in one order; of files that are one, the later are links to the first."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=WHEN) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in [tree, *sorted(tree.rglob("*"))]:
            tar.add(path, str(Path(top) / path.relative_to(tree)), recursive=False, filter=anonymous)
    return archive


if __name__ == "__main__":
    main()
