"""The real API server is one: it refuses strangers, authorizes by roles, serves every client, and goes without a trace."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.clients import Kubectl, helm, kubectls
from tests.peers.cluster import KubeApiServer, kube_apiserver
from tests.peers.go_programs import HELM, KUBE_APISERVER, KUBECTL, OLD_KUBECTL, GoProgram, program

NOBODY = json.dumps({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"})
LIMIT = 60.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubeApiServer]:
    with kube_apiserver(NOBODY) as found:
        yield found


def run(
    client: Path, home: Path, *words: str, kubeconfig: Path, status: int | None = 0
) -> subprocess.CompletedProcess[str]:
    env = {"HOME": str(home), "KUBECONFIG": str(kubeconfig)}
    done = subprocess.run([str(client), *words], env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert status is None or done.returncode == status, done.stderr
    return done


def asked(cluster: KubeApiServer, path: str, **headers: str) -> int:
    tls = ssl.create_default_context(cadata=cluster.ca)
    request = urllib.request.Request(cluster.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, context=tls, timeout=LIMIT) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def test_strangers_and_unknown_tokens_are_refused(cluster: KubeApiServer) -> None:
    assert asked(cluster, "/api/v1/namespaces") == 403
    assert asked(cluster, "/api/v1/namespaces", Authorization="Bearer nobody's") == 401


@pytest.mark.parametrize("kubectl", kubectls(), ids=lambda one: one.version)
def test_every_kubectl_may_do_what_the_administrator_may(
    kubectl: Kubectl, cluster: KubeApiServer, tmp_path: Path
) -> None:
    said = run(kubectl.path(), tmp_path, "version", "-o", "json", kubeconfig=cluster.admin)
    versions = json.loads(said.stdout)
    assert versions["clientVersion"]["gitVersion"].startswith(f"v{kubectl.version}.")
    assert versions["serverVersion"]["gitVersion"] == KUBE_APISERVER.version
    may = run(kubectl.path(), tmp_path, "auth", "can-i", "create", "namespaces", kubeconfig=cluster.admin)
    assert may.stdout == "yes\n"


@pytest.mark.parametrize("built", [OLD_KUBECTL, KUBECTL], ids=lambda one: one.minor)
def test_the_cluster_knows_the_administrator_by_name(built: GoProgram, cluster: KubeApiServer, tmp_path: Path) -> None:
    """Not asked by kubectl 1.27, whose version of the question this server has left behind."""
    who = run(program(built), tmp_path, "auth", "whoami", "-o", "json", kubeconfig=cluster.admin)
    user = json.loads(who.stdout)["status"]["userInfo"]
    assert (user["username"], user["groups"]) == ("admin", ["system:masters", "system:authenticated"])


def test_the_built_ones_are_both_ends_of_what_is_supported() -> None:
    found = [one.version for one in kubectls()]
    assert found == sorted(found, key=lambda one: int(one.split(".")[1]))
    assert {OLD_KUBECTL.minor, KUBECTL.minor} <= set(found)
    assert KUBECTL.version == KUBE_APISERVER.version
    assert int(KUBECTL.minor.split(".")[1]) - int(OLD_KUBECTL.minor.split(".")[1]) == 2


def test_a_group_may_do_what_its_role_says_in_its_namespace_alone(cluster: KubeApiServer, tmp_path: Path) -> None:
    kubectl = program(KUBECTL)

    def admin(*words: str, status: int | None = 0) -> str:
        return run(kubectl, tmp_path, *words, kubeconfig=cluster.admin, status=status).stdout

    for namespace in ("staging", "production"):
        admin("create", "namespace", namespace)
        admin("-n", namespace, "run", "billing", "--image=billing.test/billing")
    admin("-n", "staging", "create", "role", "debugger", "--verb=get,list", "--resource=pods")
    admin("-n", "staging", "create", "rolebinding", "debuggers", "--role=debugger", "--group=debuggers")
    alice = ("--as=alice", "--as-group=debuggers")
    assert admin("-n", "staging", "get", "pods", "-o", "name", *alice) == "pod/billing\n"
    assert admin("-n", "staging", "get", "pod", "billing", "-o", "jsonpath={.status.phase}", *alice) == "Pending"
    assert admin("-n", "production", "auth", "can-i", "list", "pods", *alice, status=1) == "no\n"
    assert admin("-n", "staging", "auth", "can-i", "delete", "pods", *alice, status=1) == "no\n"
    assert admin("-n", "staging", "auth", "can-i", "list", "pods", "--as=alice", status=1) == "no\n"


def test_a_kubeconfig_for_another_user_entry_reaches_the_same_cluster(cluster: KubeApiServer, tmp_path: Path) -> None:
    mine = tmp_path / "config"
    mine.write_text(cluster.kubeconfig({"token": "nobody's"}, namespace="staging"))
    refused = run(program(KUBECTL), tmp_path, "get", "pods", kubeconfig=mine, status=1)
    assert "Unauthorized" in refused.stderr or "must be logged in" in refused.stderr


def test_helm_installs_and_lists_without_a_node(cluster: KubeApiServer, tmp_path: Path) -> None:
    assert run(helm(), tmp_path, "version", "--short", kubeconfig=cluster.admin).stdout.strip() == HELM.version
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(json.dumps({"apiVersion": "v2", "name": "billing", "version": "0.1.0"}))
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"currency": "EUR"}}
    (chart / "templates" / "settings.yaml").write_text(json.dumps(settings))
    run(helm(), tmp_path, "install", "billing", str(chart), kubeconfig=cluster.admin)
    listed = json.loads(run(helm(), tmp_path, "list", "-o", "json", kubeconfig=cluster.admin).stdout)
    assert [(one["name"], one["status"]) for one in listed] == [("billing", "deployed")]
    read = run(program(KUBECTL), tmp_path, "get", "configmap", "settings", "-o", "json", kubeconfig=cluster.admin)
    assert json.loads(read.stdout)["data"] == {"currency": "EUR"}


def test_at_the_end_no_process_and_no_file_is_left() -> None:
    with kube_apiserver(NOBODY) as short:
        assert len(short.processes) == 2
        assert all(one.runs() for one in short.processes)
        folder = short.admin.parent
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not any(one.runs() for one in short.processes)
    assert not folder.exists()


def test_a_configuration_that_it_does_not_read_is_told_in_its_own_words() -> None:
    with pytest.raises(AssertionError, match="unknown field"), kube_apiserver(NOBODY[:-1] + ', "jwts": []}'):
        pytest.fail("it started")
