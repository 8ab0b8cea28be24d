"""The programs by which people reach a cluster: kubectl in every version that is to be had here, and helm."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.peers.go_programs import HELM, KUBECTL, OLD_KUBECTL, GoProgram, program

_VERSIONED = re.compile(r"kubectl\.(1\.[0-9]+)")


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One version of kubectl; nothing is built before it is asked for."""

    version: str
    """Its minor version, as ``1.37``."""
    origin: Path | GoProgram

    def path(self) -> Path:
        """The program; the test is skipped, or fails, where it cannot be had."""
        return self.origin if isinstance(self.origin, Path) else program(self.origin)


def kubectls() -> list[Kubectl]:
    """Each version once, oldest first: those of the machine, and both ends of what Kubernetes supports.

    A vendor's ``kubectl`` may choose among versioned siblings, and calls the cluster once more to do so. The siblings
    are plain programs and count; whatever has the bare name does not.
    """
    built = {one.minor: Kubectl(one.minor, one) for one in (OLD_KUBECTL, KUBECTL)}
    every = _siblings() | built
    return sorted(every.values(), key=lambda one: int(one.version.removeprefix("1.")))


def helm() -> Path:
    """Another well-known program on client-go, with a wiring of its own; it needs no node to do its work."""
    return program(HELM)


def _siblings() -> dict[str, Kubectl]:
    found = shutil.which("kubectl")
    if found is None:
        return {}
    named = [(_VERSIONED.fullmatch(path.name), path) for path in Path(found).resolve().parent.iterdir()]
    return {name[1]: Kubectl(name[1], path) for name, path in named if name and os.access(path, os.X_OK)}
