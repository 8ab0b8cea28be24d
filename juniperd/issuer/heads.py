"""The trail's head beside the data base: written each minute, and compared before anything is added to the trail.

It catches who shortens the data base and forgets the file. Against who knows of both stands a head kept elsewhere.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from juniperd.errors import StateError
from juniperd.issuer import audit
from juniperd.issuer.audit import Flaw, Head

NAME = "head"


def read(folder: Path) -> Head | None:
    """The head told last; None where none is there."""
    path = folder / NAME
    try:
        return Head.parse(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        msg = f"{path} holds no head of the trail"
        raise StateError(msg, f"delete it, then compare with one of your logs: juniper audit verify --{NAME}") from None


def write(folder: Path, head: Head) -> None:
    """Tell the head, whole or not at all; an ``OSError`` is the caller's."""
    fresh = folder / f"{NAME}.new"
    with fresh.open("w") as file:
        file.write(f"{head}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / NAME)


def check(folder: Path, connection: sqlite3.Connection) -> bool:
    """Refuse a trail that does not hold the head told last; False where there is a trail and no head."""
    known = read(folder)
    if known is None:
        return audit.head(connection).seq == 0
    flaw = audit.lacks(connection, known)
    if flaw is not None:
        cure = f"keep a copy of {folder} and look into it; then put the whole trail back, or delete {folder / NAME}"
        raise broken(flaw, cure)
    return True


def broken(flaw: Flaw, remedy: str) -> StateError:
    """A trail that is not what it was."""
    return StateError(f"the trail is broken at record {flaw.seq}: {flaw.text}", remedy)
