"""What the exec plugin adds to a ``kubectl get``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.agent import process
from tests.bench.company import BIN, Company
from tests.bench.figures import Figure, median
from tests.peers.clients import kubectls

ADDED = 5.0
"""Milliseconds at the median, with a warm lease."""
ROUNDS = 100


def get(place: Company) -> Iterator[Figure]:
    """``kubectl get`` with the helper against the same with the same token in a file, in turn."""
    newest = kubectls()[-1].path()
    document = json.loads(Path(place.environ["KUBECONFIG"]).read_text())
    static = place.folder / "kube/static"
    static.write_text(
        json.dumps({**document, "users": [{"name": "juniper", "user": {"token": _token(place, document)}}]})
    )
    static.chmod(0o600)
    words: list[str | Path] = [newest, "get", "pods", "-o", "name"]
    took: dict[str, list[float]] = {"helper": [], "token": []}
    environs = {"helper": place.environ, "token": {**place.environ, "KUBECONFIG": str(static)}}
    for environ in environs.values():
        process(words, environ)
    for _ in range(ROUNDS):
        for name, environ in environs.items():
            took[name].append(process(words, environ))
    # In pairs: what else the machine does meets both of one pair alike.
    added = median([one - other for one, other in zip(took["helper"], took["token"], strict=True)]) * 1e3
    detail = f"median {median(took['helper']) * 1e3:.1f} ms, with a static token {median(took['token']) * 1e3:.1f} ms"
    yield Figure("kubectl get, added by the helper, warm lease", added, "ms", ADDED, detail=detail)


def _token(place: Company, document: dict[str, Any]) -> str:
    """What the helper hands out for the current context."""
    (cluster,) = (row["cluster"] for row in document["clusters"] if row["name"] == document["current-context"])
    cluster["config"] = cluster["extensions"][0]["extension"]
    info = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "spec": {"cluster": cluster}}
    environ = {**place.environ, "KUBERNETES_EXEC_INFO": json.dumps(info)}
    done = subprocess.run([BIN / "juniper-kubectl"], env=environ, capture_output=True, check=True)
    return str(json.loads(done.stdout)["status"]["token"])
