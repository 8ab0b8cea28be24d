"""A Debian package of the agent: ``deb.py FOLDER`` makes it there, for this machine's architecture and Python.

Debian's own libraries are older than what the agent needs, so the package brings those that ``runtime.lock`` pins, in a
folder of its own that no other program imports from.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from parts import PROGRAMS, ROOT, WHEN, compiled, installed, run, same_times, wheel_of

HOME = Path("usr/lib/juniperd")
# Neither variables nor site-packages: what others install must not run where the refresh token lives.
PROGRAM = """\
#!/usr/bin/python3 -IS
import sys

sys.path.insert(0, "/{home}/lib")
from {module} import main

sys.exit(main())
"""
CONTROL = """\
Package: juniperd
Version: {version}
Architecture: {architecture}
Maintainer: The Juniper authors <juniper@localhost>
Installed-Size: {size}
Depends: python3 (>= {python}), python3 (<< {next_python})
Recommends: gnome-keyring | kwalletmanager, dbus-user-session
Section: admin
Priority: optional
Description: sign in once; tools hold what a GitLab job of yours would hold
 The agent juniperd, its command line juniper, and the helpers by which aws,
 kubectl, docker and git ask it for credentials that live an hour at most.
"""
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Comment: The libraries in /{home}/lib carry their licences in their *.dist-info folders.

Files: *
Copyright: the Juniper authors
License: Apache-2.0
 The text is in /usr/share/common-licenses/Apache-2.0.
"""


def main() -> None:
    """Build it and say where it is."""
    parser = argparse.ArgumentParser(description="build the Debian package of the agent")
    parser.add_argument("folder", type=Path, help="where to put it")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="juniper-deb-") as place:
        print(build(Path(place), folder))


def build(place: Path, folder: Path) -> Path:
    """The package, made of a tree in ``place``."""
    tree = place / "tree"
    version = installed(tree / HOME / "lib", wheel_of(place))
    _programs(tree)
    _pages(tree)
    compiled(tree / HOME / "lib", f"/{HOME}/lib")
    _described(tree, version)
    package = folder / f"juniperd_{version}_{_architecture()}.deb"
    same_times(tree)
    os.environ["SOURCE_DATE_EPOCH"] = str(WHEN)
    run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(package))
    return package


def _programs(tree: Path) -> None:
    """The helpers beside the agent, as they look for it; a link to each where a PATH finds it."""
    lib, made, found = (tree / HOME / name for name in ("lib", "bin", "lib/bin"))
    made.mkdir()
    (tree / "usr/bin").mkdir()
    for helper in found.glob("*juniper*"):
        if helper.name not in PROGRAMS:
            shutil.move(helper, made / helper.name)
    for name, module in PROGRAMS.items():
        program = made / name
        program.write_text(PROGRAM.format(home=HOME, module=module), encoding="utf-8")
        program.chmod(0o755)
    for program in made.iterdir():
        (tree / "usr/bin" / program.name).symlink_to(f"../lib/juniperd/bin/{program.name}")
    shutil.rmtree(found)
    shutil.move(lib / "share", tree / "usr/share")
    # Debian's zsh looks for what packages bring in a folder of another name.
    theirs = tree / "usr/share/zsh"
    (theirs / "site-functions").rename(theirs / "vendor-completions")


def _pages(tree: Path) -> None:
    """Manual, units and what Debian wants to be told."""
    for page in (tree / "usr/share/man/man1").iterdir():
        _compressed(page)
    units = tree / "usr/lib/systemd/user"
    units.mkdir(parents=True)
    for unit in (ROOT / "packaging/systemd").glob("juniperd.*"):
        text = unit.read_text(encoding="utf-8")
        text = re.sub(r"(?m)^#.*pipx.*\n(?=ExecStart=)", "", text)
        (units / unit.name).write_text(
            text.replace("%h/.local/bin/juniperd", f"/{HOME}/bin/juniperd"), encoding="utf-8"
        )
    doc = tree / "usr/share/doc/juniperd"
    doc.mkdir(parents=True)
    (doc / "copyright").write_text(COPYRIGHT.format(home=HOME), encoding="utf-8")
    changes = Path(shutil.copy(ROOT / "CHANGELOG.md", doc / "changelog"))
    _compressed(changes)


def _compressed(page: Path) -> None:
    page.with_name(f"{page.name}.gz").write_bytes(gzip.compress(page.read_bytes(), 9, mtime=0))
    page.unlink()


def _described(tree: Path, version: str) -> None:
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(path.stat().st_size for path in files)
    major, minor = sys.version_info[:2]
    about = CONTROL.format(
        version=version,
        architecture=_architecture(),
        size=-(-size // 1024),
        python=f"{major}.{minor}",
        next_python=f"{major}.{minor + 1}",
    )
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(about, encoding="utf-8")
    (tree / "DEBIAN/md5sums").write_text("".join(_sums(tree, files)), encoding="utf-8")


def _sums(tree: Path, files: list[Path]) -> Iterator[str]:
    for path in files:
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        yield f"{digest}  {path.relative_to(tree)}\n"


def _architecture() -> str:
    return run("dpkg", "--print-architecture").strip()


if __name__ == "__main__":
    main()
