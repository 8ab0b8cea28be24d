"""Real kubectl against the cluster, in every version that is to be had here."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from juniperd.sandbox.cluster import ClusterDouble
from tests.peers.clients import Kubectl, kubectls

from .cluster_bench import GROUP, Bench

FORBIDDEN = "Error from server (Forbidden): "
DISCOVERY = ("/api", "/apis")


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run of kubectl has left."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Console:
    """One person's kubectl, with a token in a file and a cache of its own."""

    program: Path
    minor: int
    cluster: ClusterDouble
    folder: Path

    def write_token(self, token: str) -> None:
        """What kubectl sends from now on."""
        (self.folder / "token").write_text(token)

    async def start(self, *words: str, **env: str) -> asyncio.subprocess.Process:
        """Run it, and do not wait."""
        env = {"HOME": str(self.folder), "KUBECONFIG": str(self.folder / "config"), "PATH": os.defpath} | env
        pipe = asyncio.subprocess.PIPE
        call = ["--cache-dir", str(self.folder / "cache"), *words]
        return await asyncio.create_subprocess_exec(self.program, *call, stdin=pipe, stdout=pipe, stderr=pipe, env=env)

    async def run(self, *words: str, stdin: str = "", **env: str) -> Ended:
        """Run it to its end."""
        running = await self.start(*words, **env)
        async with asyncio.timeout(60):
            out, err = await running.communicate(stdin.encode())
        assert running.returncode is not None
        return Ended(running.returncode, out.decode(), err.decode())

    async def good(self, *words: str, stdin: str = "", **env: str) -> str:
        """What it writes when all is well."""
        ended = await self.run(*words, stdin=stdin, **env)
        assert ended.code == 0, ended.err
        return ended.out

    async def bad(self, *words: str, stdin: str = "") -> str:
        """What it says where something is not."""
        ended = await self.run(*words, stdin=stdin)
        assert ended.code == 1, ended.out
        return ended.err


@pytest.fixture(params=(kubectls()[0], kubectls()[-1]), ids=lambda one: one.version)
def kubectl_version(request: pytest.FixtureRequest) -> Kubectl:
    version: Kubectl = request.param
    return version


@pytest.fixture
async def console(
    kubectl_version: Kubectl, cluster: ClusterDouble, cluster_side: Bench, tmp_path: Path
) -> AsyncIterator[Console]:
    entry = {"server": cluster.url, "certificate-authority": str(cluster_side.tls.ca)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "staging", "cluster": entry}],
        "users": [{"name": "me", "user": {"tokenFile": str(tmp_path / "token")}}],
        "contexts": [{"name": "staging", "context": {"cluster": "staging", "user": "me", "namespace": "billing"}}],
        "current-context": "staging",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    program = await asyncio.to_thread(kubectl_version.path)
    made = Console(program, int(kubectl_version.version.removeprefix("1.")), cluster, tmp_path)
    made.write_token(cluster_side.token())
    yield made
    # Whatever kubectl asked, the cluster had an answer of its own.
    assert [row for row in cluster.seen if row.status >= 500] == []


def config_map(currency: str) -> str:
    return json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "greeting"}, "data": {"currency": currency}}
    )


async def data(console: Console, name: str = "greeting") -> dict[str, str]:
    found: dict[str, Any] = json.loads(await console.good("get", "configmap", name, "-o", "json"))
    assert isinstance(found["data"], dict)
    return found["data"]


async def test_get_pods(console: Console) -> None:
    rows = [line.split() for line in (await console.good("get", "pods")).splitlines()]
    assert rows[0] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert [row[:4] for row in rows[1:]] == [
        ["invoices-7d9", "2/2", "Running", "0"],
        ["migration", "0/1", "Completed", "0"],
    ]
    wide = (await console.good("get", "pods", "-o", "wide")).splitlines()
    assert wide[0].split()[5:7] == ["IP", "NODE"]
    assert "10.42.0.10" in wide[1]
    assert await console.good("get", "pods", "-o", "name") == "pod/invoices-7d9\npod/migration\n"
    assert await console.good("get", "pods", "-l", "app=invoices", "-o", "name") == "pod/invoices-7d9\n"
    listed = json.loads(await console.good("get", "pods", "-o", "json"))
    assert [row["metadata"]["name"] for row in listed["items"]] == ["invoices-7d9", "migration"]
    one = json.loads(await console.good("get", "pod", "migration", "-o", "json"))
    assert (one["kind"], one["status"]["phase"]) == ("Pod", "Succeeded")


async def test_what_is_not_there_or_not_allowed(console: Console) -> None:
    assert await console.bad("get", "pod", "nobody") == 'Error from server (NotFound): pods "nobody" not found\n'
    who = 'User "juniper:7-developer" cannot list resource "pods" in API group ""'
    assert await console.bad("get", "pods", "-A") == f"{FORBIDDEN}pods is forbidden: {who} at the cluster scope\n"
    elsewhere = f'{FORBIDDEN}pods is forbidden: {who} in the namespace "kube-system"\n'
    assert await console.bad("get", "pods", "-n", "kube-system") == elsewhere
    assert 'the server doesn\'t have a resource type "ponies"' in await console.bad("get", "ponies")
    assert 'pods "migration" is forbidden' in await console.bad("delete", "pod", "migration")


async def test_logs(console: Console) -> None:
    assert await console.good("logs", "migration") == "one\ntwo\nthree\n"
    assert await console.good("logs", "migration", "--tail=1") == "three\n"
    assert await console.good("logs", "-f", "migration") == "one\ntwo\nthree\n"
    assert await console.good("logs", "invoices-7d9", "-c", "proxy") == "open\n"
    assert 'pods "nobody" not found' in await console.bad("logs", "nobody")
    stamped = (await console.good("logs", "invoices-7d9", "-c", "proxy", "--timestamps")).split()
    assert stamped[1] == "open"
    assert stamped[0].endswith("Z")


async def test_logs_are_followed_until_the_container_ends(console: Console) -> None:
    running = await console.start("logs", "-f", "invoices-7d9", "-c", "app")
    assert running.stdout is not None
    async with asyncio.timeout(60):
        assert [await running.stdout.readline() for _ in range(2)] == [b"started\n", b"ready\n"]
        console.cluster.logs.write("billing", "invoices-7d9", "app", "paid")
        assert await running.stdout.readline() == b"paid\n"
        console.cluster.logs.end("billing", "invoices-7d9", "app")
        assert await running.stdout.read() == b""
        assert await running.wait() == 0


async def test_describe(console: Console) -> None:
    """Events are not within the role, and kubectl describes the pod without them."""
    described = await console.good("describe", "pod", "migration")
    assert "Status:           Succeeded" in described
    assert ("GET", 403) in {(row.method, row.status) for row in console.cluster.seen if "/events" in row.path}


async def test_can_i(console: Console) -> None:
    assert await console.good("auth", "can-i", "get", "pods") == "yes\n"
    assert await console.good("auth", "can-i", "get", "pods", "--subresource=log") == "yes\n"
    for question in (("delete", "pods"), ("get", "pods", "-n", "kube-system"), ("get", "pods", "-A")):
        ended = await console.run("auth", "can-i", *question)
        assert (ended.code, ended.out) == (1, "no\n")
    table = [line.split() for line in (await console.good("auth", "can-i", "--list")).splitlines()]
    assert ["pods", "[]", "[]", "[get", "list", "watch]"] in table
    assert ["configmaps", "[]", "[]", "[*]"] in table


async def test_whoami(console: Console) -> None:
    if console.minor < 28:
        # It knows the alpha and beta of the API, which no cluster of today serves.
        assert "selfsubjectreviews API is not enabled" in await console.bad("auth", "whoami")
        return
    review = json.loads(await console.good("auth", "whoami", "-o", "json"))
    user = review["status"]["userInfo"]
    assert (user["username"], user["uid"]) == ("juniper:7-developer", "7")
    assert user["groups"] == [GROUP, "system:authenticated"]
    assert user["extra"]["authentication.kubernetes.io/credential-id"] == ["JTI=0123"]


async def test_api_resources(console: Console) -> None:
    rows = {line.split()[0]: line.split() for line in (await console.good("api-resources")).splitlines()}
    assert rows["pods"] == ["pods", "po", "v1", "true", "Pod"]
    assert rows["configmaps"] == ["configmaps", "cm", "v1", "true", "ConfigMap"]
    assert rows["namespaces"][-2:] == ["false", "Namespace"]
    names = await console.good("api-resources", "--api-group=authorization.k8s.io", "-o", "name")
    assert "selfsubjectaccessreviews.authorization.k8s.io" in names.splitlines()


async def test_apply_from_stdin(console: Console) -> None:
    async def apply(currency: str, *words: str) -> str:
        return await console.good("apply", "-f", "-", *words, stdin=config_map(currency))

    assert await apply("EUR") == "configmap/greeting created\n"
    assert await apply("EUR") == "configmap/greeting unchanged\n"
    assert await apply("CHF") == "configmap/greeting configured\n"
    assert await data(console) == {"currency": "CHF"}
    assert await apply("SEK", "--dry-run=server") == "configmap/greeting configured (server dry run)\n"
    assert await data(console) == {"currency": "CHF"}
    assert "data:" not in await console.good("diff", "-f", "-", stdin=config_map("CHF"))
    assert (await console.good("delete", "configmap", "greeting")).startswith('configmap "greeting" deleted')
    missing = await console.bad("get", "configmap", "greeting")
    assert missing == 'Error from server (NotFound): configmaps "greeting" not found\n'


async def test_apply_by_the_server(console: Console) -> None:
    async def apply(currency: str, manager: str, *words: str) -> Ended:
        options = ("--server-side", f"--field-manager={manager}", *words)
        return await console.run("apply", "-f", "-", *options, stdin=config_map(currency))

    assert (await apply("EUR", "first")).out == "configmap/greeting serverside-applied\n"
    conflict = await apply("CHF", "second")
    assert conflict.code == 1
    assert 'conflict with "first": .data.currency' in conflict.err
    assert (await apply("CHF", "second", "--force-conflicts")).code == 0
    assert await data(console) == {"currency": "CHF"}


async def test_apply_where_no_role_allows_it(console: Console) -> None:
    refusal = await console.bad("apply", "-n", "kube-system", "-f", "-", stdin=config_map("EUR"))
    assert 'cannot get resource "configmaps" in API group "" in the namespace "kube-system"' in refusal


async def test_a_field_that_there_is_not_is_found(console: Console) -> None:
    wrong = json.loads(config_map("EUR")) | {"dta": {"currency": "EUR"}}
    assert 'unknown field "dta"' in await console.bad("apply", "-f", "-", stdin=json.dumps(wrong))


async def test_edit_patch_label_and_replace(console: Console) -> None:
    editor = f"{sys.executable} -c \"import sys, pathlib as p; f = p.Path(sys.argv[1]); f.write_text(f.read_text().replace('EUR', 'CHF'))\""
    assert await console.good("edit", "configmap", "settings", KUBE_EDITOR=editor) == "configmap/settings edited\n"
    assert await data(console, "settings") == {"currency": "CHF"}
    patch = ("patch", "configmap", "settings", "-p", '{"data":{"country":"SE"}}')
    assert await console.good(*patch) == "configmap/settings patched\n"
    assert await data(console, "settings") == {"currency": "CHF", "country": "SE"}
    removal = ("patch", "configmap", "settings", "--type=json", "-p", '[{"op":"remove","path":"/data/country"}]')
    assert await console.good(*removal) == "configmap/settings patched\n"
    assert await console.good("label", "configmap", "settings", "tier=back") == "configmap/settings labeled\n"
    assert await console.good("get", "configmap", "-l", "tier=back", "-o", "name") == "configmap/settings\n"
    shown = (await console.good("get", "configmap", "settings", "-o", "yaml")).replace("CHF", "SEK")
    assert await console.good("replace", "-f", "-", stdin=shown) == "configmap/settings replaced\n"
    assert await data(console, "settings") == {"currency": "SEK"}


async def test_a_watch_shows_what_is_there_and_then_what_changes(console: Console) -> None:
    running = await console.start("get", "configmaps", "-w", "-o", "name")
    assert running.stdout is not None
    async with asyncio.timeout(60):
        assert await running.stdout.readline() == b"configmap/settings\n"
        assert await console.good("create", "configmap", "more", "--from-literal=a=b") == "configmap/more created\n"
        assert await running.stdout.readline() == b"configmap/more\n"
        running.terminate()
        await running.communicate()


async def test_a_watch_ends_when_its_client_says(console: Console) -> None:
    shown = await console.run("get", "pods", "-w", "--request-timeout=2s")
    assert [line.split()[0] for line in shown.out.splitlines()] == ["NAME", "invoices-7d9", "migration"]


async def test_discovery_is_read_once_and_then_kept(console: Console) -> None:
    await console.good("get", "pods")
    assert {row.path.partition("?")[0] for row in console.cluster.seen} >= set(DISCOVERY)
    console.cluster.seen.clear()
    await console.good("get", "pods")
    assert [row.path for row in console.cluster.seen] == ["/api/v1/namespaces/billing/pods?limit=500"]


async def test_a_token_that_has_ended(console: Console, cluster_side: Bench) -> None:
    console.write_token(cluster_side.token(exp=int(cluster_side.clock()) - 1))
    refusal = await console.bad("get", "pods")
    assert "error: You must be logged in to the server (" in refusal
    console.write_token(cluster_side.token())
    assert (await console.good("get", "pods", "-o", "name")).splitlines() == ["pod/invoices-7d9", "pod/migration"]


async def test_nobody_is_somebody_else(console: Console) -> None:
    # Discovery first: what is refused there, kubectl calls "unknown".
    await console.good("get", "pods")
    refusal = await console.bad("get", "pods", "--as", "system:admin")
    assert 'User "juniper:7-developer" cannot impersonate resource "users" in API group ""' in refusal
