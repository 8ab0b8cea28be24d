"""The two clusters of the kubectl suite: the sandbox's own, and a real API server told to trust the sandbox's issuer."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from juniperd.sandbox.tls import certificates
from tests.peers.clients import kubectls
from tests.peers.cluster import KubeApiServer, kube_apiserver

from .clusters import CONTEXT, GROUP, NAMESPACE, SCOPE, written
from .company import PATIENCE, Company, company, ends, installed

PARTIES = "relying_parties/shop.toml"
POD = "api-5d9c7b6f4-7xk2p"


@dataclass(frozen=True, slots=True)
class Site:
    """A company, and the kubeconfig that its developer was given."""

    company: Company
    document: dict[str, Any]
    cluster: KubeApiServer | None = None
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """Issuers that took the place of the first one."""

    def minted(self) -> int:
        """How many decisions the issuer wrote down: one for each call to ``/token``."""
        return len(self.company.decisions())

    def decision(self) -> dict[str, object]:
        """The last one."""
        return self.company.decisions()[-1]

    @contextmanager
    def parties(self, change: Callable[[str], str]) -> Iterator[None]:
        """Other relying parties until the block ends."""
        path = self.company.folder / PARTIES
        before = path.read_text()
        assert change(before) != before
        try:
            self._write(path, change(before))
            yield
        finally:
            self._write(path, before)

    @contextmanager
    def policy(self, text: str) -> Iterator[None]:
        """More policy until the block ends."""
        path = self.company.folder / "policy/more.toml"
        try:
            self._write(path, text)
            yield
        finally:
            path.unlink()
            self.company.juniper("issuer", "reload").good()

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        self.company.juniper("issuer", "reload").good()

    @contextmanager
    def without_issuer(self) -> Iterator[None]:
        """No issuer until the block ends; then another one over the same state."""
        process = next(process for process in self.company.processes if process.name == "issuer")
        os.kill(process.pid, 15)
        assert ends(process.pid)
        yield
        command = [installed("juniper"), "issuer", "serve"]
        quiet = subprocess.DEVNULL
        self.started.append(
            subprocess.Popen(command, env=dict(self.company.env), stdin=quiet, stdout=quiet, stderr=quiet)
        )
        self._wait()

    def _wait(self) -> None:
        tls = ssl.create_default_context(cafile=str(self.company.folder / "ca.pem"))
        url, deadline = f"{self.company.url('issuer')}/.well-known/juniper", time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(url, context=tls, timeout=PATIENCE):
                    return
            except OSError:
                time.sleep(0.05)
        pytest.fail("the issuer did not come back")

    def end(self) -> None:
        """End what was started here."""
        for process in self.started:
            process.terminate()
            process.wait(PATIENCE)


@contextmanager
def double(place: Path) -> Iterator[Site]:
    """The sandbox as it is."""
    with company(place) as made:
        yield from _site(made)


def _site(made: Company, cluster: KubeApiServer | None = None) -> Iterator[Site]:
    made.sign_in()
    site = Site(made, written(made), cluster)
    try:
        yield site
    finally:
        site.end()


@contextmanager
def real(place: Path) -> Iterator[Site]:
    """The sandbox's issuer before a real API server, which was told what ``juniper issuer trust kubernetes`` prints."""
    with company(place) as made:
        told = made.juniper("issuer", "trust", "kubernetes", SCOPE, "--issuer-ca", str(made.folder / "ca.pem")).good()
        own = certificates()
        with kube_apiserver(told, own) as cluster:
            furnish(cluster)
            (made.folder / "relying_parties/real.pem").write_bytes(own.ca)
            path = made.folder / PARTIES
            path.write_text(at_real(path.read_text(), cluster.url))
            made.juniper("issuer", "reload").good()
            yield from _site(made, cluster)


def at_real(text: str, url: str) -> str:
    """The relying parties with the cluster at that URL, known by its own CA."""
    head, found, rest = text.partition(f"[relying_party.{CONTEXT}]")
    assert found
    mine, gap, others = rest.partition("\n[")
    lines = [line for line in mine.splitlines() if not line.startswith(("server", "ca_file"))]
    lines += [f'server = "{url}"', 'ca_file = "real.pem"', ""]
    return head + found + "\n".join(lines) + gap + others


def furnish(cluster: KubeApiServer) -> None:
    """The namespace as the project's deployments made it: a pod, and what its jobs may do there."""
    api = "rbac.authorization.k8s.io"
    where = {"name": "deployer", "namespace": NAMESPACE}
    rules = [
        {
            "apiGroups": [""],
            "resources": ["pods", "pods/log", "events", "configmaps"],
            "verbs": ["get", "list", "watch"],
        },
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update", "patch", "delete"]},
    ]
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": POD, "namespace": NAMESPACE},
            "spec": {"containers": [{"name": "api", "image": "registry.shop.example/shop/billing/api:staging"}]},
        },
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": where, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": where,
            "roleRef": {"apiGroup": api, "kind": "Role", "name": where["name"]},
            "subjects": [{"apiGroup": api, "kind": "Group", "name": GROUP}],
        },
    ]
    apply(cluster, json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def apply(cluster: KubeApiServer, wanted: str) -> None:
    """As whoever runs the cluster."""
    command = [str(kubectls()[-1].path()), "--kubeconfig", str(cluster.admin), "apply", "-f", "-"]
    subprocess.run(command, input=wanted.encode(), env={"HOME": str(cluster.admin.parent)}, check=True, timeout=60)
