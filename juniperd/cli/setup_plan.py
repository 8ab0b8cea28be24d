"""What setting up one tool would do, as a value: shown first, and carried out by one hand for all tools."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from juniperd.errors import ConfigError
from juniperd.setup import files


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a tool; ``project`` and ``host`` say what a registry's name means, and are Docker's alone."""

    undo: bool = False
    project: str | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A file before and after, and its difference as it is shown."""

    path: Path
    old: str
    new: str
    shown: str


@dataclass(frozen=True, slots=True)
class Deed:
    """Something other than a file: the command that a person would type for it, and what does it."""

    command: str
    do: Callable[[], None]

    def carry_out(self) -> None:
        """Do it, and say so."""
        self.do()
        print(f"done: {self.command}")


@dataclass(frozen=True, slots=True)
class Plan:
    """The files that change, what is done before and behind that, and what the person should know then."""

    changes: tuple[Change, ...]
    deeds: tuple[Deed, ...] = ()
    first: tuple[Deed, ...] = ()
    notes: tuple[str, ...] = ()
    afterwards: Callable[[], None] | None = None

    @property
    def empty(self) -> bool:
        """Whether all is as it should be already."""
        return not self.first and not self.deeds and not self._wanted

    @property
    def _wanted(self) -> list[Change]:
        return [change for change in self.changes if change.new != change.old]

    def show(self) -> None:
        """Each difference, and each command."""
        for deed in self.first:
            print(f"run: {deed.command}")
        for change in self.changes:
            print(change.shown or f"{change.path}: nothing to change", end="" if change.shown else "\n")
        for deed in self.deeds:
            print(f"run: {deed.command}")

    def carry_out(self) -> None:
        """Write the files, all of which can be written or none is touched, and do the rest."""
        for change in self._wanted:
            files.check(change.path)
            files.check_same(change.path, change.old)
        for deed in self.first:
            deed.carry_out()
        for change in self._wanted:
            _write(change)
        for deed in self.deeds:
            deed.carry_out()
        if self._wanted and self.afterwards is not None:
            self.afterwards()

    def tell(self) -> None:
        """What the person should know now."""
        for note in self.notes:
            print(note)


class PassedOver(ConfigError):
    """There is nothing to set up here, which is no failure where several tools are set up in turn."""


class Tool(Protocol):
    """A module that sets up one tool."""

    NEEDS_SIGN_IN: bool
    """Whether what is written depends on what the person holds."""
    PROGRAMS: tuple[str, ...]
    """The programs one of which should be in PATH; with none named it is of use anyway."""

    def plan(self, wish: Wish) -> Plan:
        """What would change; warnings go to standard error at once."""


def run(tool: Tool, wish: Wish, *, diff: bool) -> int:
    """One tool on its own: shown, and written unless ``diff``."""
    plan = tool.plan(wish)
    plan.show()
    if plan.empty and not plan.changes:
        print("nothing to change")
    if not diff:
        plan.carry_out()
    if not diff or tool.NEEDS_SIGN_IN:
        plan.tell()
    return 0


def change(path: Path, old: str, new: str) -> Change:
    """A file whose whole difference may be shown."""
    return Change(path, old, new, files.diff(path, old, new))


@contextlib.contextmanager
def or_by_hand(alone: str) -> Iterator[None]:
    """Say what would have been added, where a file turns out not to be one that can be changed."""
    try:
        yield
    except ConfigError:
        if alone:
            print(f"to add by hand, once the file is mended:\n{alone}", end="")
        raise


def _write(change: Change) -> None:
    files.check_same(change.path, change.old)
    gone = not change.new and not files.was_empty(change.path)
    backup = files.remove(change.path, change.old) if gone else files.write(change.path, change.old, change.new)
    done = "removed" if gone else "written"
    print(f"{done}: {change.path}" + (f" (before: {backup})" if backup else ""))
