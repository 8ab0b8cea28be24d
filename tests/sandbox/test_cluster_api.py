"""What the API server says of itself and of its objects, each answer as a real one was seen to give it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from juniperd.sandbox.cluster import Seen
from juniperd.sandbox.cluster.access import RoleBinding, Rule
from juniperd.sandbox.faults import Fault
from juniperd.sandbox.listening import Listening

from .open_cluster import BINDINGS, GROUP, MAPS, NAMESPACE, PODS, STATE, TABLE, Door, open_cluster, server_tls

AUTHENTICATION = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
RULES = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_cluster(tmp_path) as running:
        yield running


# --- the address ------------------------------------------------------------------------------------------------------


async def test_a_secure_address_is_served_over_tls_alone(tmp_path: Path) -> None:
    server, client = server_tls(tmp_path)
    listening = Listening.reserve(secure=True)
    assert listening.url == f"https://127.0.0.1:{listening.port}"
    app = web.Application()
    with pytest.raises(ValueError, match="with TLS"):
        await listening.start(app)
    listening.tls = server
    await listening.start(app)
    async with aiohttp.ClientSession() as http:
        async with http.get(listening.url, ssl=client) as got:
            assert got.status == 404
        with pytest.raises(aiohttp.ClientError):
            await http.get(listening.url.replace("https", "http"))
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get(listening.url, ssl=ssl.create_default_context())
    await listening.stop()


async def test_an_address_in_the_clear_takes_no_certificate(tmp_path: Path) -> None:
    listening = Listening.reserve()
    assert listening.url == f"http://127.0.0.1:{listening.port}"
    listening.tls, _ = server_tls(tmp_path)
    with pytest.raises(ValueError, match="without TLS"):
        await listening.start(web.Application())
    await listening.stop()


# --- who asks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/version", "/version/", "/healthz", "/livez", "/readyz"])
async def test_what_everybody_may_read(door: Door, path: str) -> None:
    assert (await door.get(path, Authorization="")).status == 200
    assert (await door.get(path, Authorization="Basic YTpi")).status == 200
    assert (await door.get(path, Authorization="Bearer ")).status == 200
    assert (await door.get(path)).status == 200


@pytest.mark.parametrize("path", ["/version", "/healthz", "/api", PODS, "/nowhere"])
async def test_a_bad_bearer_is_refused_wherever_it_comes(door: Door, path: str) -> None:
    got = await door.get(path, Authorization="Bearer stranger")
    assert got.json == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Unauthorized",
        "reason": "Unauthorized",
        "code": 401,
    }
    assert door.cluster.seen == [Seen("GET", path, None, 401)]


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/", 'forbidden: User "system:anonymous" cannot get path "/"'),
        ("GET", "/api", 'forbidden: User "system:anonymous" cannot get path "/api"'),
        ("POST", "/version", 'forbidden: User "system:anonymous" cannot post path "/version"'),
        (
            "GET",
            PODS,
            (
                'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace '
                '"billing"'
            ),
        ),
        (
            "POST",
            AUTHENTICATION,
            (
                'selfsubjectreviews.authentication.k8s.io is forbidden: User "system:anonymous" cannot create resource '
                '"selfsubjectreviews" in API group "authentication.k8s.io" at the cluster scope'
            ),
        ),
    ],
)
async def test_nobody_may_more(door: Door, method: str, path: str, said: str) -> None:
    got = await door.ask(method, path, Authorization="")
    assert got.refusal == (403, "Forbidden", said)
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert door.cluster.seen[-1].username == "system:anonymous"


@pytest.mark.parametrize("token", ["developer", "developer and more"])
async def test_the_bearer_is_the_second_word(door: Door, token: str) -> None:
    assert (await door.get(PODS, Authorization=f"bearer {token}")).status == 200


async def test_nobody_is_impersonated(door: Door) -> None:
    got = await door.get(PODS, Impersonate_User="root")
    said = 'users "root" is forbidden: User "juniper:7-developer" cannot impersonate resource "users" in API group ""'
    assert got.refusal == (403, "Forbidden", f"{said} at the cluster scope")
    assert (await door.get(PODS, Impersonate_Group="system:masters")).status == 400


async def test_every_request_is_seen_once(door: Door) -> None:
    await door.get(f"{PODS}?limit=500")
    await door.get("/api/v1/pods")
    door.cluster.faults.add(Fault("/version", status=503))
    await door.get("/version")
    assert door.cluster.seen == [
        Seen("GET", f"{PODS}?limit=500", "juniper:7-developer", 200),
        Seen("GET", "/api/v1/pods", "juniper:7-developer", 403),
        Seen("GET", "/version", None, 503),
    ]


# --- may they ---------------------------------------------------------------------------------------------------------

ME = 'User "juniper:7-developer" cannot'


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/nowhere", f'forbidden: {ME} get path "/nowhere"'),
        ("DELETE", "/api/v1", f'forbidden: {ME} delete path "/api/v1"'),
        ("GET", "/a<b>&c", f'forbidden: {ME} get path "/a&lt;b&gt;&amp;c"'),
        ("GET", "/api/v1/pods", f'pods is forbidden: {ME} list resource "pods" in API group "" at the cluster scope'),
        (
            "GET",
            "/api/v1/namespaces/kube-system/pods/dns",
            f'pods "dns" is forbidden: {ME} get resource "pods" in API group "" in the namespace "kube-system"',
        ),
        (
            "GET",
            f"{PODS}/invoices-0/exec",
            f'pods "invoices-0" is forbidden: {ME} get resource "pods/exec" in API group "" in the namespace "billing"',
        ),
        (
            "GET",
            NAMESPACE,
            (
                f'namespaces "billing" is forbidden: {ME} get resource "namespaces" in API group "" in the namespace '
                '"billing"'
            ),
        ),
        (
            "DELETE",
            "/apis/apps/v1/namespaces/billing/deployments",
            (
                f'deployments.apps is forbidden: {ME} deletecollection resource "deployments" in API group "apps" in the '
                'namespace "billing"'
            ),
        ),
        (
            "GET",
            f"{NAMESPACE}/secrets?watch=true",
            f'secrets is forbidden: {ME} watch resource "secrets" in API group "" in the namespace "billing"',
        ),
    ],
)
async def test_what_no_binding_allows(door: Door, method: str, path: str, said: str) -> None:
    assert (await door.ask(method, path)).refusal == (403, "Forbidden", said)


async def test_bindings_hold_from_the_next_request_on(door: Door) -> None:
    assert (await door.get(f"{NAMESPACE}/services")).status == 403
    more = RoleBinding("billing", "look", GROUP, (Rule(("list",), ("services",)), Rule(("get",), ("namespaces",))))
    door.cluster.bindings = (*BINDINGS, more)
    assert (await door.get(f"{NAMESPACE}/services")).json["items"] == []
    assert (await door.get(NAMESPACE)).json["status"] == {"phase": "Active"}
    door.cluster.bindings = ()
    assert (await door.get(PODS)).status == 403


# --- what there is not ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"{NAMESPACE}/shelves", "/apis/apps/v9", "/api/v9", f"{MAPS}/settings/shelves"])
async def test_a_group_without_such_a_resource_says_so_in_a_status(door: Door, path: str) -> None:
    shelves = RoleBinding("billing", "all", GROUP, (Rule(("*",), ("*",)),))
    door.cluster.bindings = (shelves,)
    assert (await door.get(path)).refusal == (404, "NotFound", "the server could not find the requested resource")


@pytest.mark.parametrize("path", ["/apis/example.com/v1", "/apis/example.com", "/openapi/v9", "/openapi/v3/api/v7"])
async def test_a_path_that_nothing_serves(door: Door, path: str) -> None:
    got = await door.get(path)
    assert (got.status, got.text) == (404, "404 page not found\n")


async def test_an_object_that_is_not_there(door: Door) -> None:
    got = await door.get(f"{PODS}/nowhere")
    assert got.refusal == (404, "NotFound", 'pods "nowhere" not found')
    assert got.json["details"] == {"name": "nowhere", "kind": "pods"}


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", PODS), ("DELETE", f"{PODS}/report"), ("PUT", MAPS), ("PATCH", MAPS), ("POST", f"{MAPS}/settings")],
)
async def test_a_verb_that_the_resource_does_not_know(door: Door, method: str, path: str) -> None:
    door.cluster.bindings = (RoleBinding("billing", "all", GROUP, (Rule(("*",), ("*",)),)),)
    said = "the server does not allow this method on the requested resource"
    assert (await door.ask(method, path, {})).refusal == (405, "MethodNotAllowed", said)


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/html", 406),
        ("application/vnd.kubernetes.protobuf", 406),
        ("application/json;as=Shelf;v=v1;g=example.com", 406),
        ("application/json;as=Table;v=v9;g=meta.k8s.io", 406),
        ("application/vnd.kubernetes.protobuf, application/json", 200),
        ("application/json;as=Table;v=v9;g=meta.k8s.io, application/json", 200),
        ("application/xml, */*;q=0.1", 200),
        ("", 200),
    ],
)
async def test_forms_of_an_answer(door: Door, accept: str, status: int) -> None:
    got = await door.get(PODS, Accept=accept)
    assert got.status == status
    assert got.headers["Content-Type"] == "application/json"
    if status == 406:
        assert got.refusal[1] == "NotAcceptable"


# --- discovery --------------------------------------------------------------------------------------------------------


async def test_discovery_in_its_plain_form(door: Door) -> None:
    port = door.cluster.listening.port
    root = (await door.get("/api")).json
    assert (root["kind"], root["versions"]) == ("APIVersions", ["v1"])
    assert root["serverAddressByClientCIDRs"][0]["serverAddress"] == f"127.0.0.1:{port}"
    groups = (await door.get("/apis")).json["groups"]
    assert [group["name"] for group in groups] == ["apps", "authentication.k8s.io", "authorization.k8s.io"]
    for group in groups:
        found = (await door.get(f"/apis/{group['name']}")).json
        assert {name: found[name] for name in group} == group
        rows = (await door.get(f"/apis/{group['preferredVersion']['groupVersion']}")).json
        assert (rows["kind"], rows["groupVersion"]) == ("APIResourceList", f"{group['name']}/v1")
    core = {row["name"]: row for row in (await door.get("/api/v1")).json["resources"]}
    assert core["pods"] == {
        "name": "pods",
        "singularName": "pod",
        "namespaced": True,
        "kind": "Pod",
        "verbs": ["get", "list", "watch"],
        "shortNames": ["po"],
        "categories": ["all"],
    }
    assert core["pods/log"]["verbs"] == ["get"]
    assert "delete" in core["configmaps"]["verbs"]
    assert core["namespaces"]["namespaced"] is False


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
async def test_discovery_all_at_once_says_the_same(door: Door, version: str) -> None:
    accept = f"{AGGREGATED.format(version)}, application/json"
    plain, found = set(), set()
    for path in ("/api", "/apis"):
        got = await door.get(path, Accept=accept)
        assert got.headers["Content-Type"] == AGGREGATED.format(version)
        assert (got.json["apiVersion"], got.json["kind"]) == (f"apidiscovery.k8s.io/{version}", "APIGroupDiscoveryList")
        for item in got.json["items"]:
            group = item["metadata"].get("name", "")
            for row in item["versions"][0]["resources"]:
                found.add((group, row["resource"], row["responseKind"]["kind"], row["scope"], *row["verbs"]))
            where = f"/apis/{group}/v1" if group else "/api/v1"
            for row in (await door.get(where)).json["resources"]:
                scope = "Namespaced" if row["namespaced"] else "Cluster"
                if "/" not in row["name"]:
                    plain.add((group, row["name"], row["kind"], scope, *row["verbs"]))
    assert plain == found
    assert len(found) > 10


async def test_discovery_that_a_client_has_is_not_sent_again(door: Door) -> None:
    first = await door.get("/apis", Accept=AGGREGATED.format("v2"))
    again = await door.get("/apis", Accept=AGGREGATED.format("v2"), If_None_Match=first.headers["ETag"])
    assert (again.status, again.text) == (304, "")
    other = await door.get("/api", Accept=AGGREGATED.format("v2"), If_None_Match=first.headers["ETag"])
    assert other.status == 200


async def test_an_unknown_aggregate_is_passed_over(door: Door) -> None:
    got = await door.get("/apis", Accept=f"{AGGREGATED.format('v9')}, application/json")
    assert got.json["kind"] == "APIGroupList"
    assert (await door.get("/apis", Accept=AGGREGATED.format("v9"))).status == 406


async def test_openapi_is_found_under_the_hash_that_the_index_names(door: Door) -> None:
    paths = (await door.get("/openapi/v3")).json["paths"]
    assert set(paths) == {"api/v1", "apis/apps/v1", "apis/authentication.k8s.io/v1", "apis/authorization.k8s.io/v1"}
    document = (await door.get(paths["api/v1"]["serverRelativeURL"])).json
    patch = document["paths"]["/api/v1/namespaces/{namespace}/configmaps/{name}"]["patch"]
    assert "fieldValidation" in [row["name"] for row in patch["parameters"]]
    schemas = document["components"]["schemas"]
    (named,) = [row for row in schemas.values() if "x-kubernetes-group-version-kind" in row]
    assert named["x-kubernetes-group-version-kind"] == [{"group": "", "version": "v1", "kind": "ConfigMap"}]
    assert (await door.get("/openapi/v2")).status == 406


# --- reviews ----------------------------------------------------------------------------------------------------------


async def test_who_am_i(door: Door) -> None:
    got = await door.ask("POST", AUTHENTICATION, {})
    assert got.status == 201
    assert got.json["status"]["userInfo"] == {
        "username": "juniper:7-developer",
        "uid": "7",
        "groups": [GROUP, "system:authenticated"],
        "extra": {"example.com/scope": ["billing-debugger"]},
    }


DEBUG = f'RBAC: allowed by RoleBinding "debug/billing" of Role "debug" to Group "{GROUP}"'
BASIC = 'RBAC: allowed by ClusterRoleBinding "system:basic-user" of ClusterRole "system:basic-user" to Group'


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"verb": "list", "resource": "pods", "namespace": "billing"}, DEBUG),
        ({"verb": "get", "resource": "pods", "subresource": "log", "namespace": "billing"}, DEBUG),
        ({"verb": "*", "resource": "configmaps", "namespace": "billing"}, DEBUG),
        ({"verb": "get", "resource": "pods", "subresource": "exec", "namespace": "billing"}, None),
        ({"verb": "delete", "resource": "pods", "namespace": "billing"}, None),
        ({"verb": "list", "resource": "pods", "namespace": "kube-system"}, None),
        ({"verb": "list", "resource": "pods"}, None),
        ({"verb": "list", "resource": "pods", "namespace": "billing", "group": "apps"}, None),
        ({"verb": "*", "resource": "*", "namespace": "billing"}, None),
        (
            {"verb": "create", "resource": "selfsubjectreviews", "group": "authentication.k8s.io"},
            f'{BASIC} "system:authenticated"',
        ),
    ],
)
async def test_may_i(door: Door, asked: dict[str, str], reason: str | None) -> None:
    got = await door.ask("POST", ACCESS, {"spec": {"resourceAttributes": asked}})
    assert got.status == 201
    assert got.json["status"] == ({"allowed": True, "reason": reason} if reason else {"allowed": False})


@pytest.mark.parametrize(("path", "allowed"), [("/version", True), ("/apis/apps", True), ("/metrics", False)])
async def test_may_i_read_a_path(door: Door, path: str, allowed: bool) -> None:
    asked = {"spec": {"nonResourceAttributes": {"verb": "get", "path": path}}}
    assert (await door.ask("POST", ACCESS, asked)).json["status"]["allowed"] is allowed


@pytest.mark.parametrize(
    "spec", [{}, {"resourceAttributes": {}, "nonResourceAttributes": {}}, {"resourceAttributes": 7}]
)
async def test_a_question_that_is_none(door: Door, spec: dict[str, Any]) -> None:
    status, reason, said = (await door.ask("POST", ACCESS, {"spec": spec})).refusal
    assert (status, reason) == (422, "Invalid")
    assert "exactly one of nonResourceAttributes or resourceAttributes" in said


async def test_what_may_i(door: Door) -> None:
    got = await door.ask("POST", RULES, {"spec": {"namespace": "billing"}})
    status = got.json["status"]
    assert status["incomplete"] is False
    assert {"verbs": ["*"], "apiGroups": [""], "resources": ["configmaps", "shelves"]} in status["resourceRules"]
    assert any("/openapi/*" in row["nonResourceURLs"] for row in status["nonResourceRules"])
    elsewhere = (await door.ask("POST", RULES, {"spec": {"namespace": "default"}})).json["status"]
    assert len(elsewhere["resourceRules"]) == 2
    assert (await door.ask("POST", RULES, {"spec": {}})).refusal[::2] == (400, "no namespace on request")


async def test_what_one_role_names_is_all_it_allows(door: Door) -> None:
    named = RoleBinding("billing", "one", GROUP, (Rule(("get", "list"), ("pods",), names=("report",)),))
    door.cluster.bindings = (named,)
    assert (await door.get(f"{PODS}/report")).status == 200
    assert (await door.get(f"{PODS}/invoices-0")).status == 403
    assert (await door.get(PODS)).status == 403
    one = await door.get(f"{PODS}?fieldSelector=metadata.name%3Dreport")
    assert [row["metadata"]["name"] for row in one.json["items"]] == ["report"]


# --- objects ----------------------------------------------------------------------------------------------------------


async def names(door: Door, query: str) -> list[str]:
    return [row["metadata"]["name"] for row in (await door.get(f"{PODS}?{query}")).json["items"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["invoices-0", "report"]),
        ("labelSelector=app%3Dinvoices", ["invoices-0"]),
        ("labelSelector=app%3D%3Dinvoices", ["invoices-0"]),
        ("labelSelector=app!%3Dinvoices", ["report"]),
        ("labelSelector=app", ["invoices-0"]),
        ("labelSelector=!app", ["report"]),
        ("labelSelector=app%20in%20(invoices,more)", ["invoices-0"]),
        ("labelSelector=app%20notin%20(invoices)", ["report"]),
        ("labelSelector=app%20in%20(invoices),app%3Dother", []),
        ("fieldSelector=metadata.name%3Dreport", ["report"]),
        ("fieldSelector=status.phase%3DRunning,metadata.namespace%3Dbilling", ["invoices-0"]),
        ("fieldSelector=status.phase!%3DRunning", ["report"]),
    ],
)
async def test_selectors(door: Door, query: str, found: list[str]) -> None:
    assert await names(door, query) == found


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"{PODS}?labelSelector=app%20in%20(x", "unable to parse requirement"),
        (f"{PODS}?fieldSelector=shelf%3Dx", "field label not supported: shelf"),
        (f"{MAPS}?fieldSelector=shelf%3Dx", '"shelf" is not a known field selector'),
        (f"{PODS}?fieldSelector=shelf", "can't understand"),
        (f"{PODS}?continue=%21", "continue key is not valid"),
    ],
)
async def test_selectors_that_are_none(door: Door, path: str, said: str) -> None:
    status, reason, message = (await door.get(path)).refusal
    assert (status, reason) == (400, "BadRequest")
    assert said in message


async def test_a_list_in_chunks(door: Door) -> None:
    first = (await door.get(f"{PODS}?limit=1")).json
    assert (len(first["items"]), first["metadata"]["remainingItemCount"]) == (1, 1)
    rest = (await door.get(f"{PODS}?limit=1&continue={first['metadata']['continue']}")).json
    assert [row["metadata"]["name"] for row in rest["items"]] == ["report"]
    assert "continue" not in rest["metadata"]


async def test_a_pod_that_runs_and_one_that_has_ended(door: Door) -> None:
    rows = (await door.get(PODS)).json
    assert rows["kind"] == "PodList"
    assert "kind" not in rows["items"][0]
    running, ended = (await door.get(f"{PODS}/invoices-0")).json, (await door.get(f"{PODS}/report")).json
    assert (running["kind"], running["status"]["phase"]) == ("Pod", "Running")
    assert "running" in running["status"]["containerStatuses"][0]["state"]
    assert ended["status"]["phase"] == "Succeeded"
    assert ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    created = running["metadata"]["creationTimestamp"]
    assert created == "2026-09-21T13:13:20Z"
    assert running["metadata"]["uid"] != ended["metadata"]["uid"]


async def test_pods_as_a_table(door: Door) -> None:
    got = (await door.get(PODS, Accept=TABLE)).json
    assert (got["kind"], got["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [row["name"] for row in got["columnDefinitions"] if not row["priority"]] == [
        "Name",
        "Ready",
        "Status",
        "Restarts",
        "Age",
    ]
    assert [row["cells"][:5] for row in got["rows"]] == [
        ["invoices-0", "2/2", "Running", "2", "60m"],
        ["report", "0/1", "Completed", "0", "2d7h"],
    ]
    assert got["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    whole = (await door.get(f"{PODS}/report?includeObject=Object", Accept=TABLE)).json
    assert whole["rows"][0]["object"]["kind"] == "Pod"
    bare = (await door.get(f"{PODS}?includeObject=None", Accept=TABLE)).json
    assert "object" not in bare["rows"][0]
    assert (await door.get(f"{PODS}/nowhere", Accept=TABLE)).status == 404


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (599, "9m59s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_000, "3h3m"),
        (28_800, "8h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (800_000, "9d"),
        (70_000_000, "2y80d"),
        (300_000_000, "9y"),
        (-5, "<invalid>"),
    ],
)
async def test_ages_as_kubectl_writes_them(tmp_path: Path, age: int, shown: str) -> None:
    pod = replace(STATE.pods[1], age=float(age))
    async with open_cluster(tmp_path, state=replace(STATE, pods=(pod,))) as door:
        assert (await door.get(PODS, Accept=TABLE)).json["rows"][0]["cells"][4] == shown
