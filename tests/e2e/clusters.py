"""A laptop with kubectl before a cluster: the sandbox's double, or a real API server that trusts the same issuer.

The kubeconfig is the one that ``juniper setup kubectl`` writes, but for the helper's path: a line of shell before it
counts how often kubectl runs it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.company import PATIENCE, Company, Done, installed

SCOPE = "billing-debugger"
CONTEXT = "staging-eu"
NAMESPACE = "billing"
GROUP = "gitlab:project_env:42:staging"
SETTINGS = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "switches", "namespace": NAMESPACE},
        "data": {"late-fee": "off"},
    }
)


@dataclass(frozen=True, slots=True)
class Laptop:
    """A person's shell: the company, a kubeconfig, and one kubectl."""

    company: Company
    folder: Path
    program: Path

    @property
    def kubeconfig(self) -> Path:
        """The one in use."""
        return self.folder / "kubeconfig"

    def begin(self, document: Mapping[str, Any]) -> None:
        """Use this kubeconfig, with nothing counted and no discovery kept."""
        self.kubeconfig.write_text(json.dumps(document))
        self.kubeconfig.chmod(0o600)
        (self.folder / "runs").write_text("")
        self.forget_discovery()

    def forget_discovery(self) -> None:
        """Kubectl's cache is cold again."""
        for path in sorted((self.folder / "cache").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    def counting(self) -> Path:
        """The helper, behind what counts its runs."""
        counted = self.folder / "juniper-kubectl"
        helper = installed("juniper-kubectl")
        counted.write_text(f"#!/bin/sh\necho run >> '{self.folder}/runs'\nexec '{helper}' \"$@\"\n")
        counted.chmod(0o755)
        return counted

    def runs(self) -> int:
        """How often kubectl ran the helper since `begin` or the last question."""
        counted = (self.folder / "runs").read_text().count("run\n")
        (self.folder / "runs").write_text("")
        return counted

    @property
    def env(self) -> dict[str, str]:
        """The shell's variables; kubectl keeps what it discovers in this laptop's folder."""
        mine = {"KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.folder / "cache")}
        return {**self.company.env, **self.company.changed, **mine}

    def kubectl(self, *words: str, stdin: str | None = None) -> Done:
        """One command, without a terminal."""
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin.encode()}
        command = [str(self.program), *words]
        made = subprocess.run(command, env=self.env, capture_output=True, timeout=PATIENCE, check=False, **given)
        return Done(made.returncode, made.stdout.decode(), made.stderr.decode())

    def at_once(self, count: int, *words: str) -> Sequence[Done]:
        """The same command many times in parallel, each a process of its own."""
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: self.kubectl(*words), range(count)))


def written(company: Company) -> dict[str, Any]:
    """What ``juniper setup kubectl`` writes for this person."""
    company.juniper("setup", "kubectl").good()
    found: dict[str, Any] = json.loads((company.folder / "kubeconfig").read_text())
    (company.folder / "kubeconfig").unlink()
    return found


def with_helper(document: dict[str, Any], helper: Path) -> dict[str, Any]:
    """The same, running another program."""
    changed: dict[str, Any] = json.loads(json.dumps(document))
    changed["users"][0]["user"]["exec"]["command"] = str(helper)
    changed["current-context"] = CONTEXT
    return changed


def static(document: dict[str, Any], token: str, folder: Path) -> dict[str, Any]:
    """The same with a token in a file in place of the helper."""
    path = folder / "token"
    path.write_text(token)
    os.chmod(path, 0o600)
    changed = with_helper(document, path)
    changed["users"] = [{"name": changed["users"][0]["name"], "user": {"tokenFile": str(path)}}]
    return changed
