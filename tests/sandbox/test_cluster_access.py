"""Who a cluster takes, for how long, and what its roles let them do."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from juniperd.sandbox.cluster import ClusterDouble, Seen
from juniperd.sandbox.cluster.access import Access, RoleBinding, Rule
from juniperd.sandbox.cluster.authentication import ANONYMOUS, AUTHENTICATED, User
from juniperd.sandbox.cluster.call import Call, read

from .cluster_bench import AUDITORS, GROUP, Bench

UNAUTHORIZED = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "message": "Unauthorized",
    "reason": "Unauthorized",
    "code": 401,
}
PODS = "/api/v1/namespaces/billing/pods"
SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
MAY_I = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
WHAT_MAY_I = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
DEVELOPER = User("juniper:7-developer", "7", (GROUP, AUTHENTICATED))


async def ask(
    cluster: ClusterDouble, side: Bench, path: str, *, bearer: str = "", body: Any = None, scheme: str = "Bearer"
) -> tuple[int, Any]:
    """The status, and the body as JSON or as text."""
    headers = {"Authorization": f"{scheme} {bearer}"} if bearer else {}
    async with (
        aiohttp.ClientSession() as http,
        http.request(
            "GET" if body is None else "POST", cluster.url + path, json=body, headers=headers, ssl=side.tls.client
        ) as answer,
    ):
        return answer.status, await (answer.json() if answer.content_type == "application/json" else answer.text())


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
async def test_anybody_may_ask_how_the_cluster_is(cluster: ClusterDouble, cluster_side: Bench, path: str) -> None:
    assert await ask(cluster, cluster_side, path) == (200, "ok")


async def test_anybody_may_ask_its_version_and_nothing_else(cluster: ClusterDouble, cluster_side: Bench) -> None:
    status, version = await ask(cluster, cluster_side, "/version")
    assert (status, version["major"]) == (200, "1")
    status, refusal = await ask(cluster, cluster_side, "/api")
    assert (status, refusal["reason"]) == (403, "Forbidden")
    assert refusal["message"] == 'forbidden: User "system:anonymous" cannot get path "/api"'
    status, refusal = await ask(cluster, cluster_side, PODS)
    assert status == 403
    assert refusal["message"] == (
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" '
        'in the namespace "billing"'
    )


@pytest.mark.parametrize("path", ["/version", "/healthz", "/api", PODS, "/nowhere"])
async def test_a_bad_bearer_is_refused_even_where_anybody_may(
    cluster: ClusterDouble, cluster_side: Bench, path: str
) -> None:
    assert await ask(cluster, cluster_side, path, bearer="no-token") == (401, UNAUTHORIZED)
    assert cluster.seen == [Seen("GET", path, None, 401)]


async def test_another_scheme_is_no_bearer(cluster: ClusterDouble, cluster_side: Bench) -> None:
    token = cluster_side.token()
    assert (await ask(cluster, cluster_side, PODS, bearer=token, scheme="Basic"))[0] == 403
    assert (await ask(cluster, cluster_side, PODS, bearer=token, scheme="bearer"))[0] == 200
    assert [row.username for row in cluster.seen] == ["system:anonymous", "juniper:7-developer"]


async def test_an_accepted_token_is_good_for_ten_seconds_more(cluster: ClusterDouble, cluster_side: Bench) -> None:
    token = cluster_side.token(exp=int(cluster_side.clock()) + 3)
    assert (await ask(cluster, cluster_side, PODS, bearer=token))[0] == 200
    cluster_side.clock.now += 9
    assert (await ask(cluster, cluster_side, PODS, bearer=token))[0] == 200
    cluster_side.clock.now += 1
    assert await ask(cluster, cluster_side, PODS, bearer=token) == (401, UNAUTHORIZED)


async def test_a_refused_token_is_looked_at_again(cluster: ClusterDouble, cluster_side: Bench) -> None:
    token = cluster_side.token(nbf=int(cluster_side.clock()) + 61)
    assert (await ask(cluster, cluster_side, PODS, bearer=token))[0] == 401
    cluster_side.clock.now += 1
    assert (await ask(cluster, cluster_side, PODS, bearer=token))[0] == 200


async def test_a_role_reaches_its_namespace_and_its_group(cluster: ClusterDouble, cluster_side: Bench) -> None:
    token = cluster_side.token()
    assert (await ask(cluster, cluster_side, PODS, bearer=token))[0] == 200
    for path, where in (
        ("/api/v1/namespaces/kube-system/pods", 'in the namespace "kube-system"'),
        ("/api/v1/pods", "at the cluster scope"),
    ):
        status, refusal = await ask(cluster, cluster_side, path, bearer=token)
        assert status == 403
        assert refusal["message"] == (
            f'pods is forbidden: User "juniper:7-developer" cannot list resource "pods" in API group "" {where}'
        )
    other = cluster_side.token(groups=[AUDITORS])
    assert (await ask(cluster, cluster_side, PODS, bearer=other))[0] == 403


async def test_bindings_change_while_the_cluster_runs(cluster: ClusterDouble, cluster_side: Bench) -> None:
    token = cluster_side.token()
    cluster.bindings = ()
    assert (await ask(cluster, cluster_side, PODS, bearer=token))[0] == 403


async def test_who_am_i(cluster: ClusterDouble, cluster_side: Bench) -> None:
    question = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    status, review = await ask(cluster, cluster_side, SELF, bearer=cluster_side.token(), body=question)
    assert status == 201
    assert review["status"]["userInfo"] == {
        "username": "juniper:7-developer",
        "uid": "7",
        "groups": [GROUP, AUTHENTICATED],
        "extra": {
            "authentication.kubernetes.io/credential-id": ["JTI=0123"],
            "127.0.0.1/scope": ["billing-debugger"],
            "127.0.0.1/session": ["s-1"],
        },
    }
    assert (await ask(cluster, cluster_side, SELF, body=question))[0] == 403


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (
            {"verb": "list", "resource": "pods", "namespace": "billing"},
            f'RBAC: allowed by RoleBinding "look/billing" of Role "look" to Group "{GROUP}"',
        ),
        ({"verb": "delete", "resource": "pods", "namespace": "billing"}, None),
        ({"verb": "list", "resource": "pods", "namespace": "kube-system"}, None),
        ({"verb": "list", "resource": "pods"}, None),
        ({"verb": "list", "resource": "pods", "group": "apps", "namespace": "billing"}, None),
    ],
)
async def test_may_i(
    cluster: ClusterDouble, cluster_side: Bench, attributes: dict[str, str], reason: str | None
) -> None:
    body = {"spec": {"resourceAttributes": attributes}}
    status, review = await ask(cluster, cluster_side, MAY_I, bearer=cluster_side.token(), body=body)
    assert status == 201
    assert review["status"]["allowed"] is (reason is not None)
    assert review["status"].get("reason") == reason


async def test_what_may_i(cluster: ClusterDouble, cluster_side: Bench) -> None:
    body = {"spec": {"namespace": "billing"}}
    _, review = await ask(cluster, cluster_side, WHAT_MAY_I, bearer=cluster_side.token(), body=body)
    rules = review["status"]["resourceRules"]
    assert {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods", "pods/log"]} in rules
    body = {"spec": {"namespace": "kube-system"}}
    _, review = await ask(cluster, cluster_side, WHAT_MAY_I, bearer=cluster_side.token(), body=body)
    reviews = {name for rule in review["status"]["resourceRules"] for name in rule["resources"]}
    assert reviews == {"selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"}


@pytest.mark.parametrize(
    ("rule", "method", "path", "allowed"),
    [
        (Rule(("get",), ("pods",)), "GET", f"{PODS}/a", True),
        (Rule(("get",), ("pods",)), "HEAD", f"{PODS}/a", True),
        (Rule(("get",), ("pods",)), "GET", PODS, False),
        (Rule(("list",), ("pods",)), "GET", PODS, True),
        (Rule(("list",), ("pods",)), "GET", f"{PODS}?watch=1", False),
        (Rule(("watch",), ("pods",)), "GET", f"{PODS}?watch=true", True),
        (Rule(("get",), ("pods",)), "GET", f"{PODS}/a/log", False),
        (Rule(("get",), ("pods/log",)), "GET", f"{PODS}/a/log", True),
        (Rule(("get",), ("*/log",)), "GET", f"{PODS}/a/log", True),
        (Rule(("get",), ("*",)), "GET", f"{PODS}/a/log", True),
        (Rule(("get",), ("pods",), names=("a",)), "GET", f"{PODS}/a", True),
        (Rule(("get",), ("pods",), names=("a",)), "GET", f"{PODS}/b", False),
        (Rule(("list",), ("pods",), names=("a",)), "GET", f"{PODS}?fieldSelector=metadata.name%3Da", True),
        (Rule(("list",), ("pods",), names=("a",)), "GET", PODS, False),
        (Rule(("*",), ("pods",)), "DELETE", f"{PODS}/a", True),
        (Rule(("delete",), ("pods",)), "DELETE", PODS, False),
        (Rule(("deletecollection",), ("pods",)), "DELETE", PODS, True),
        (Rule(("create",), ("pods",)), "POST", PODS, True),
        (Rule(("update",), ("pods",)), "PUT", f"{PODS}/a", True),
        (Rule(("update",), ("pods",)), "PATCH", f"{PODS}/a", False),
        (Rule(("patch",), ("pods",)), "PATCH", f"{PODS}/a", True),
        (Rule(("get",), ("deployments",)), "GET", "/apis/apps/v1/namespaces/billing/deployments/a", False),
        (
            Rule(("get",), ("deployments",), ("apps",)),
            "GET",
            "/apis/apps/v1/namespaces/billing/deployments/a",
            True,
        ),
        (Rule(("get",), ("deployments",), ("*",)), "GET", "/apis/apps/v1/namespaces/billing/deployments/a", True),
        (Rule(("get",), ("namespaces",)), "GET", "/api/v1/namespaces/billing", True),
        (Rule(("list",), ("namespaces",)), "GET", "/api/v1/namespaces", False),
    ],
)
def test_a_rule_of_a_namespace(rule: Rule, method: str, path: str, *, allowed: bool) -> None:
    access = Access((RoleBinding("billing", "role", GROUP, (rule,), "bound"),))
    bare, _, query = path.partition("?")
    terms = [term.partition("=") for term in query.replace("%3D", "=").split("&") if term]
    call = read(method, bare, {name: value for name, _, value in terms})
    reason = f'RBAC: allowed by RoleBinding "bound/billing" of Role "role" to Group "{GROUP}"'
    assert access.reason(DEVELOPER, call) == (reason if allowed else None)


@pytest.mark.parametrize(
    ("user", "call", "role"),
    [
        (ANONYMOUS, Call("get", "/version"), "system:public-info-viewer"),
        (ANONYMOUS, Call("get", "/apis"), None),
        (DEVELOPER, Call("get", "/apis"), "system:discovery"),
        (DEVELOPER, Call("get", "/openapi/v3/api/v1"), "system:discovery"),
        (DEVELOPER, Call("post", "/apis"), None),
        (DEVELOPER, Call("get", "/metrics"), None),
        (DEVELOPER, Call("get", "/versions"), None),
    ],
)
def test_paths_that_every_cluster_grants(user: User, call: Call, role: str | None) -> None:
    reason = Access(()).reason(user, call)
    assert (reason is None) is (role is None)
    assert role is None or f'of ClusterRole "{role}"' in str(reason)


async def test_every_request_is_seen_as_it_was_answered(cluster: ClusterDouble, cluster_side: Bench) -> None:
    token = cluster_side.token()
    await ask(cluster, cluster_side, f"{PODS}?limit=500", bearer=token)
    await ask(cluster, cluster_side, f"{PODS}/nobody", bearer=token)
    await ask(cluster, cluster_side, "/version")
    assert cluster.seen == [
        Seen("GET", f"{PODS}?limit=500", "juniper:7-developer", 200),
        Seen("GET", f"{PODS}/nobody", "juniper:7-developer", 404),
        Seen("GET", "/version", "system:anonymous", 200),
    ]
