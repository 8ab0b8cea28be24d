"""The shop's clusters and its internal API, furnished: what runs there, who may look, and which tokens count."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from juniperd.sandbox.account import AwsAccount
from juniperd.sandbox.billing_api import BillingApi
from juniperd.sandbox.cluster import ClusterDouble
from juniperd.sandbox.cluster.access import RoleBinding, Rule
from juniperd.sandbox.cluster.authentication import Clock
from juniperd.sandbox.cluster.eks import AccessEntry, EksAuthenticator
from juniperd.sandbox.cluster.state import ClusterState, Container, Pod
from juniperd.sandbox.cluster.tokens import JwtAuthenticator, Trust, TrustedScope
from juniperd.sandbox.company import API, API_AUDIENCE, CLUSTER, EKS_CLUSTER, ORIGINS, SCOPES, Scope
from juniperd.sandbox.listening import Double, Listening
from juniperd.sandbox.tls import Contexts

_LOOK: Final = Rule(("get", "list", "watch"), ("pods", "pods/log", "events", "configmaps"))
_SETTINGS: Final = Rule(("create", "update", "patch", "delete"), ("configmaps",))
_BILLING: Final = (
    Pod(
        "billing",
        "api-5d9c7b6f4-7xk2p",
        (
            Container(
                "api",
                "registry.shop.example/shop/billing/api:staging",
                ("listening on :8080", "GET /invoices/1001 200", "GET /invoices/1002 500: no template 'late-fee'"),
            ),
        ),
        labels={"app": "api"},
    ),
    Pod(
        "billing",
        "renderer-6f7d8c9b5-q4m8z",
        (Container("renderer", "registry.shop.example/shop/billing/renderer:staging", ("waiting for work",)),),
        labels={"app": "renderer"},
    ),
)
_NIGHTLY: Final = Pod(
    "batch",
    "nightly-archive-29384760-x7k2m",
    (Container("archive", "registry.shop.example/shop/billing/archive:staging", ("archived 1001",), running=False),),
    labels={"app": "archive"},
)
_SYSTEM: Final = Pod(
    "kube-system", "coredns-7c65d6cfc9-hb2wd", (Container("coredns", "registry.shop.example/coredns"),)
)


@dataclass(frozen=True, slots=True)
class Places:
    """Where tokens lead: the cluster that trusts the issuer, the one on EKS, and the API."""

    staging: ClusterDouble
    batch: ClusterDouble
    api: BillingApi

    @classmethod
    def furnished(cls, account: AwsAccount, issuer: str, tls: Contexts, clock: Clock = time.time) -> Places:
        """All of them, not yet serving."""
        return cls(_staging(issuer, tls, clock), _batch(account, tls, clock), _billing_api(issuer, tls, clock))

    def all(self) -> tuple[Double, ...]:
        """Each of them."""
        return (self.staging, self.batch, self.api)


def _staging(issuer: str, tls: Contexts, clock: Clock) -> ClusterDouble:
    """The cluster that trusts the issuer. Its one binding was made for the jobs of the project, before there were laptops."""
    found = [
        (scope, scope.namespace) for scope in SCOPES if scope.namespace and scope.namespace.relying_party == CLUSTER
    ]
    groups = {group for scope, place in found for group in (_group(scope), *place.groups)}
    trust = Trust(issuer, CLUSTER, tuple(_trusted(scope) for scope, _ in found), frozenset(groups), tls.trusting)
    return ClusterDouble(
        JwtAuthenticator(trust, clock),
        ClusterState(("billing",), (*_BILLING, _SYSTEM)),
        (RoleBinding("billing", "deployer", "gitlab:project_env:42:staging", (_LOOK, _SETTINGS)),),
        clock,
        listening=Listening.with_tls(tls.serving),
    )


def _batch(account: AwsAccount, tls: Contexts, clock: Clock) -> ClusterDouble:
    """The cluster on EKS, which knows AWS roles: an access entry gives each scope's role the scope's group."""
    found = [scope for scope in SCOPES if scope.namespace and scope.namespace.relying_party == EKS_CLUSTER]
    entries = tuple(AccessEntry(scope.role_arn, "juniper:{{SessionName}}", (_group(scope),)) for scope in found)
    bindings = (RoleBinding("batch", f"juniper-{scope.name}", _group(scope), (_LOOK,)) for scope in found)
    return ClusterDouble(
        EksAuthenticator(EKS_CLUSTER, account, entries, clock),
        ClusterState(("batch",), (_NIGHTLY, _SYSTEM)),
        tuple(bindings),
        clock,
        listening=Listening.with_tls(tls.serving),
    )


def _billing_api(issuer: str, tls: Contexts, clock: Clock) -> BillingApi:
    """The API that verifies our tokens by itself."""
    (scope,) = (scope for scope in SCOPES if scope.api == API)
    return BillingApi(
        issuer, API_AUDIENCE, scope.name, scope.subjects(), clock, tls.trusting, Listening.with_tls(tls.serving)
    )


def _trusted(scope: Scope) -> TrustedScope:
    return TrustedScope(scope.name, dict(zip(ORIGINS, scope.subjects(), strict=True)), scope.environment)


def _group(scope: Scope) -> str:
    return f"juniper:scope:{scope.name}"
