"""A real kube-apiserver with the etcd behind it: a cluster without nodes, in which pods stay ``Pending``."""

from __future__ import annotations

import json
import secrets
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from juniperd.sandbox.listening import free_ports
from juniperd.sandbox.processes import Process, end
from juniperd.sandbox.tls import Certificates, certificates
from tests.peers.go_programs import ETCD, KUBE_APISERVER, program

START_LIMIT: Final = 120.0
END_LIMIT: Final = 30.0
"""Seconds; the server first finishes the requests that it has."""
_FROM_FILE: Final = ("--authentication-config=authentication",)
_POLL: Final = 0.05
_LOG_SHOWN: Final = 2000


@dataclass(frozen=True, slots=True)
class KubeApiServer:
    """A cluster that serves; everything of it is in one folder, which goes with it."""

    url: str
    ca: str
    """The authority of its serving certificate, in PEM."""
    admin: Path
    """A kubeconfig, in JSON, of a user in ``system:masters``: who prepares namespaces, roles and objects."""
    log: Path
    """What the server says of itself; it is told there, and nowhere else, why a token was refused."""
    processes: tuple[Process, ...]

    def kubeconfig(self, user: dict[str, object], *, namespace: str = "default") -> str:
        """A kubeconfig, in JSON, with one context for this ``user`` entry: a ``token``, or an ``exec``."""
        cluster = {"server": self.url, "certificate-authority": str(self.admin.with_name("ca.pem"))}
        context = {"cluster": "peer", "user": "person", "namespace": namespace}
        entries = {
            "clusters": [{"name": "peer", "cluster": cluster}],
            "users": [{"name": "person", "user": user}],
            "contexts": [{"name": "peer", "context": context}],
        }
        return json.dumps({"apiVersion": "v1", "kind": "Config", **entries, "current-context": "peer"})


@contextmanager
def kube_apiserver(
    authentication: str, certified: Certificates | None = None, *, flags: Sequence[str] = ()
) -> Iterator[KubeApiServer]:
    """A cluster that authenticates as this ``AuthenticationConfiguration`` says and authorizes by RBAC alone.

    Or as these ``flags`` say, where it is empty.

    It is ready when the block begins and gone when it has ended. The issuer's keys are fetched beside that: at once,
    and again every ten seconds. So a test whose issuer serves in its own loop enters by ``asyncio.to_thread``, for an
    issuer that cannot answer while this waits is trusted only ten seconds later. No controller runs: nobody fills
    ``view``, ``edit`` and ``admin``, and no namespace has a service account, so pods are let in without one.
    """
    etcd, server = program(ETCD), program(KUBE_APISERVER)
    store, peers, port = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="jun-") as name:
        folder, token = Path(name), secrets.token_urlsafe()
        pems = certified or certificates()
        _write(folder, pems, authentication, token)
        with _running([str(etcd), *_etcd_words(store, peers)], folder, "etcd") as behind:
            words = [*_server_words(store, port), *flags, *_FROM_FILE[: bool(authentication)]]
            with _running([str(server), *words], folder, "kube-apiserver") as front:
                url, log = f"https://127.0.0.1:{port}", folder / "kube-apiserver.log"
                processes = tuple(Process.of(str(one.args), one.pid) for one in (behind, front))
                cluster = KubeApiServer(url, pems.ca.decode(), folder / "admin.json", log, processes)
                cluster.admin.write_text(cluster.kubeconfig({"token": token}))
                _wait(cluster, behind, front)
                yield cluster


def _write(folder: Path, pems: Certificates, authentication: str, token: str) -> None:
    for name, content in (("ca.pem", pems.ca), ("server.pem", pems.server), ("server.key", pems.server_key)):
        (folder / name).write_bytes(content)
    (folder / "authentication").write_text(authentication)
    (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')


def _etcd_words(clients: int, peers: int) -> list[str]:
    store, peer = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
    return [
        "--data-dir=etcd",
        f"--listen-client-urls={store}",
        f"--advertise-client-urls={store}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",  # nothing is to survive
    ]


def _server_words(store: int, port: int) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{store}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",  # nothing inside the cluster looks for this address
        f"--secure-port={port}",
        "--tls-cert-file=server.pem",
        "--tls-private-key-file=server.key",
        "--token-auth-file=tokens.csv",
        "--authorization-mode=RBAC",
        # It does not start without an issuer of service accounts; none is made here.
        "--service-account-issuer=https://kubernetes.test",
        "--service-account-key-file=server.pem",
        "--service-account-signing-key-file=server.key",
        "--service-cluster-ip-range=10.96.0.0/24",
        "--disable-admission-plugins=ServiceAccount",
    ]


@contextmanager
def _running(command: Sequence[str], folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program at work in the folder, with nothing of ours in its environment, until the end of the block."""
    nowhere, both = subprocess.DEVNULL, subprocess.STDOUT
    with (
        (folder / f"{name}.log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env={"HOME": str(folder)}, stdin=nowhere, stdout=log, stderr=both) as one,
    ):
        try:
            yield one
        finally:
            end([Process.of(name, one.pid)], limit=END_LIMIT)


def _wait(cluster: KubeApiServer, *programs: subprocess.Popen[bytes]) -> None:
    tls = ssl.create_default_context(cadata=cluster.ca)
    deadline = time.monotonic() + START_LIMIT
    while not _ready(cluster.url, tls):
        ended, late = any(one.poll() is not None for one in programs), time.monotonic() > deadline
        if ended or late:
            said = [log.read_text(errors="replace")[-_LOG_SHOWN:] for log in sorted(cluster.log.parent.glob("*.log"))]
            raise AssertionError(f"the cluster {'ended' if ended else 'was not ready in time'}: {' / '.join(said)}")
        time.sleep(_POLL)


def _ready(url: str, tls: ssl.SSLContext) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", context=tls, timeout=START_LIMIT) as answer:
            return bool(answer.status == 200)
    except OSError:  # not listening yet, or it says which part is not ready
        return False
