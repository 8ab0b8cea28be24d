"""What runs an issuer for a team: the unit before systemd's own reader, the manifests before a real API server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from juniperd.issuer import config as configuration
from tests.peers.clients import kubectls
from tests.peers.cluster import KubeApiServer, kube_apiserver
from tests.requirements import require_peer

PLACE = Path(__file__).resolve().parents[2] / "packaging/issuer"
MANIFESTS = PLACE / "kubernetes.yaml"


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        require_peer("systemd-analyze", "it reads units as the manager does")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    unit = tmp_path / "juniper-issuer.service"
    here = str(Path(sysconfig.get_path("scripts"), "juniper"))
    text = (PLACE / unit.name).read_text()
    assert text.count("/usr/bin/juniper") == 1
    unit.write_text(text.replace("/usr/bin/juniper", here).replace("Documentation=man:juniper-issuer(1)\n", ""))
    found = analyze("verify", str(unit))
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_the_unit_is_shut_in() -> None:
    # The manager's own judgement, times ten: 20 is "OK", where 100 is a service without any rule.
    found = analyze("security", "--offline=true", "--threshold=20", str(PLACE / "juniper-issuer.service"))
    assert found.returncode == 0, found.stdout[-300:]


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubeApiServer]:
    with kube_apiserver("", flags=()) as made:
        yield made


@pytest.fixture(scope="module")
def admin(cluster: KubeApiServer) -> Any:
    *_, newest = kubectls()

    def run(*words: str, stdin: str = "") -> str:
        env = {"KUBECONFIG": str(cluster.admin), "HOME": str(cluster.admin.parent), "PATH": os.defpath}
        done = subprocess.run(
            [str(newest.path()), *words], env=env, input=stdin, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr, done.stderr
        return done.stdout

    return run


def test_a_cluster_takes_the_manifests_and_its_rules_take_the_pod(admin: Any) -> None:
    said = admin("apply", "--validate=strict", "-f", str(MANIFESTS)).splitlines()
    assert len(said) == 6
    assert [line for line in said if not line.endswith(" created")] == []
    made = json.loads(admin("-n", "juniper", "get", "statefulset", "juniper-issuer", "-o", "json"))
    template = made["spec"]["template"]
    # No controller runs here that would make the pod, so it is made as one would: the namespace enforces "restricted".
    template["spec"]["volumes"].append({"name": "state", "emptyDir": {}})
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "namespace": "juniper"}, **template}
    pod["metadata"] = {**template["metadata"], "name": "one", "namespace": "juniper"}
    admin("apply", "-f", "-", stdin=json.dumps(pod))
    shown = json.loads(admin("-n", "juniper", "get", "pod", "one", "-o", "json"))
    assert shown["spec"]["containers"][0]["readinessProbe"]["httpGet"] == {
        "path": "/readyz",
        "port": "ops",
        "scheme": "HTTP",
    }


def test_what_the_manifests_configure_is_a_configuration(admin: Any, tmp_path: Path) -> None:
    admin("apply", "-f", str(MANIFESTS))
    found = json.loads(admin("-n", "juniper", "get", "configmap", "juniper-issuer", "-o", "json"))
    path = tmp_path / "issuer.toml"
    path.write_text(found["data"]["issuer.toml"])
    config = configuration.load(path)
    stateful = json.loads(admin("-n", "juniper", "get", "statefulset", "juniper-issuer", "-o", "json"))
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert config.ops_listen is not None
    listens = {"public": config.listen.port, "api": config.api_listen.port, "ops": config.ops_listen.port}
    assert ports == listens
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    for named in (config.state, config.keys, config.policy, config.relying_parties, config.gitlab.token_file):
        assert any(str(named).startswith(mount) for mount in mounted), named
    assert "example.com" in config.url
