"""``juniper uninstall``: everything that juniper wrote goes, the sign-in ends, and what is left is named."""

from __future__ import annotations

import argparse
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from juniperd import config, paths
from juniperd.cli import connection, down, setup_sign_in, setup_tools, up
from juniperd.cli.setup_all import Tour, agreed
from juniperd.cli.setup_plan import Wish
from juniperd.errors import JuniperError, UsageError
from juniperd.setup import files

EXAMPLES = """examples:
  juniper uninstall --diff
  juniper uninstall
  juniper uninstall --yes"""


def register(parser: argparse.ArgumentParser) -> None:
    """To look, to be asked, or neither."""
    parser.add_argument("--diff", action="store_true", help="show what would go and do nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    """Tools, sign-in, agent, then our own files; 1 where something of it could not be done."""
    if not args.diff and not args.yes and not sys.stdin.isatty():
        msg = "nobody is here to say yes"
        raise UsageError(msg, "add: --yes")
    tour = Tour(diff=True, yes=True)
    for name in setup_tools.TOOLS:
        tour.visit(name, Wish(undo=True), named=True)
    path, state = paths.config_path(), paths.state_path()
    print(f"\nthe sign-in ends, the agent stops, and these go: {path}, {state}")
    if args.diff:
        return 1 if tour.failed else 0
    if not agreed("take all this out?", yes=args.yes):
        print("nothing was done")
        return 0
    done = Tour(diff=False, yes=True, quiet=True)
    left = [*_signed_out(path)]
    for name in setup_tools.TOOLS:
        done.visit(name, Wish(undo=True), named=True)
    left += [*_stopped(), *_removed(path, state), *(f"{name}: could not be undone" for name in done.failed)]
    done.summary(undo=True)
    for one in left:
        print(f"left: {one}")
    for backup in _backups(path):
        print(f"kept: {backup}")
    print(f"next: {_package()}")
    return 1 if left else 0


def _signed_out(path: Path) -> Iterator[str]:
    """End each issuer's sign-in, with an agent that is started for that where none runs; yields what could not be."""
    try:
        issuers = list(config.load(path, needs_issuer=False).issuers) if path.exists() else []
        if issuers:
            up.ensure_agent()
        # An agent that runs may know one whose issuer was taken out of juniper.toml.
        issuers = list(dict.fromkeys([*issuers, *setup_sign_in.known()]))
    except JuniperError as error:
        yield f"the sign-in: {error.message}"
        return
    for issuer in issuers:
        try:
            notes = connection.result("logout", {"issuer": issuer}).get("notes")
        except JuniperError as error:
            yield f"the sign-in at {issuer}: {error.message or error}"
            continue
        print(f"signed out of {issuer}")
        yield from (f"{issuer}: {note}" for note in (notes if isinstance(notes, list) else []))


def _stopped() -> Iterator[str]:
    try:
        down.run(argparse.Namespace())
    except JuniperError as error:
        yield f"the agent: {error.message}"


def _removed(path: Path, state: Path) -> Iterator[str]:
    """Take away configuration, with a backup, and state; yields what stays and why."""
    try:
        old = files.read(path)
        if path.exists() or path.is_symlink():
            print(f"removed: {path} (before: {files.remove(path, old)})")
    except JuniperError as error:
        yield f"{path}: {error.message}"
    try:
        # A link would lead us into a folder that somebody keeps elsewhere.
        if stat.S_ISDIR(state.lstat().st_mode):
            shutil.rmtree(state)
            print(f"removed: {state}")
        else:
            yield f"{state}: it is no folder"
    except FileNotFoundError:
        return
    except OSError as error:
        yield f"{state}: {error.strerror}"


def _backups(path: Path) -> Iterator[Path]:
    """Our backups beside our own and the tools' files."""
    for file in dict.fromkeys([path, *setup_tools.files_of_tools()]):
        backup = files.backup_of(file)
        if backup.exists():
            yield backup


def _package() -> str:
    """What takes away the package: by where it lies, as its installer put it."""
    place = Path(sys.argv[0]).resolve()
    if "pipx" in place.parts:
        return "pipx uninstall juniperd"
    if "uv" in place.parts:
        return "uv tool uninstall juniperd"
    if str(place).startswith(("/usr/bin/", "/usr/lib/", "/opt/juniper")):
        return "sudo apt remove juniperd"
    return f"{place.with_name('python')} -m pip uninstall juniperd"
