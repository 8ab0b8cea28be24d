"""kubectl's exec plugin: what it sends is read strictly, and what it gets is exactly what it asked for."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from juniperd import fingerprint
from juniperd.errors import JuniperError, ProtocolError, TargetUnknown
from juniperd.model import BearerToken, Cluster, Kind, Lease, LeaseKey, Secret
from juniperd.protocols import kubectl
from juniperd.sandbox.tls import certificates
from juniperd.wire import Request

CA = certificates().ca.decode()
OTHER_CA = certificates().ca.decode()
SERVER = "https://k8s.staging-eu.example.com:6443"
KEY = LeaseKey("team", "k", None, "billing-debugger", Kind.KUBERNETES, None, None, None, None, ())


def pem(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def request(**changes: Any) -> Request:
    cluster: dict[str, Any] = {
        "server": SERVER,
        "certificate-authority-data": pem(CA),
        "config": {"scope": "billing-debugger"},
    }
    version = changes.pop("apiVersion", "client.authentication.k8s.io/v1")
    cluster |= {name.replace("_", "-"): value for name, value in changes.items()}
    spec = {"interactive": False, "cluster": {n: v for n, v in cluster.items() if v is not None}}
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    return sent(json.dumps(info) + "\n")


def sent(text: str) -> Request:
    return Request((b"juniper-kubectl",), {"KUBERNETES_EXEC_INFO": text})


def test_the_extension_selects_and_the_cluster_goes_along() -> None:
    asked = kubectl.parse(request(config={"scope": "billing-debugger", "issuer": "team", "environment": "review/42"}))
    assert (asked.scope, asked.issuer, asked.environment) == ("billing-debugger", "team", "review/42")
    assert asked.cluster == Cluster(SERVER, fingerprint.of_pem(CA) or "")
    assert (asked.kind, asked.form) == (Kind.KUBERNETES, "client.authentication.k8s.io/v1")


@pytest.mark.parametrize("version", kubectl.VERSIONS)
def test_the_version_that_was_asked_is_answered_exactly(version: str) -> None:
    asked = kubectl.parse(request(apiVersion=version))
    reply = kubectl.render(Lease(KEY, BearerToken(Secret("t")), 0.0, 1_800_000_000.0), asked.form)
    document = json.loads(reply.stdout)
    assert document["apiVersion"] == version
    assert document["status"] == {"token": "t", "expirationTimestamp": "2027-01-15T07:59:00Z"}
    assert (reply.stderr, reply.status) == (b"", 0)


def test_a_bundle_is_another_ca_than_its_first_certificate() -> None:
    bundle = kubectl.parse(request(certificate_authority_data=pem(CA + OTHER_CA))).cluster
    alone = kubectl.parse(request()).cluster
    assert bundle is not None
    assert bundle != alone


def test_a_cluster_that_the_world_trusts_has_no_ca_of_its_own() -> None:
    asked = kubectl.parse(request(certificate_authority_data=None, server=SERVER + "/"))
    assert asked.cluster == Cluster(SERVER, "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"insecure_skip_tls_verify": True}, "is not verified (insecure-skip-tls-verify); remove that line"),
        ({"insecure_skip_tls_verify": "false"}, "is not verified"),
        ({"tls_server_name": "elsewhere.example.com"}, "is verified by another name"),
        ({"server": "http://k8s.staging-eu.example.com"}, "is no https URL"),
        ({"server": None}, "is no https URL"),
        ({"server": 7}, "is no https URL"),
        ({"server": "https://[::1"}, "is no https URL"),
        ({"server": "https://ex\u2100mple"}, "is no https URL"),
        ({"tls_server_name": []}, "is verified by another name"),
        ({"tls_server_name": {}}, "is verified by another name"),
        ({"certificate_authority_data": pem("-----BEGIN CERTIFICATE-----" + " " * 47_000)}, "is no certificate"),
        ({"certificate_authority_data": pem("-----BEGIN CERTIFICATE-----" * 2000)}, "is no certificate"),
        ({"certificate_authority_data": "!!"}, "is no certificate"),
        ({"certificate_authority_data": pem("a certificate")}, "is no certificate"),
        ({"certificate_authority_data": pem(CA + "and more")}, "is no certificate"),
        ({"config": None}, "names no scope in an extension client.authentication.k8s.io/exec"),
        ({"config": {}}, "names no scope in an extension"),
        ({"config": {"issuer": "team"}}, "names no scope"),
        ({"config": {"scope": "Billing"}}, "'Billing' is not the name of a scope"),
        ({"config": {"scope": 7}}, "'scope' in the extension client.authentication.k8s.io/exec is no text"),
        ({"config": {"scope": "a", "issuer": "a/b"}}, "'a/b' is not the name of an issuer"),
        ({"config": {"scope": "a", "audience": "b"}}, "has 'audience', which this agent does not know"),
        ({"config": {"scope": "a", "environment": "x\ny"}}, "'environment' in the extension"),
    ],
)
def test_a_cluster_that_proves_nothing_gets_nothing(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(TargetUnknown) as refused:
        kubectl.parse(request(**changes))
    assert said in str(refused.value)
    assert str(refused.value).endswith("run: juniper setup kubectl")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "KUBERNETES_EXEC_INFO is missing or no ExecCredential"),
        ("{", "KUBERNETES_EXEC_INFO is missing or no ExecCredential"),
        ("[]", "KUBERNETES_EXEC_INFO is missing or no ExecCredential"),
        ("[" * 20000, "KUBERNETES_EXEC_INFO is missing or no ExecCredential"),
        (
            '{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1alpha1"}',
            "kubectl speaks client.authentication.k8s.io/v1alpha1, this agent",
        ),
        (
            '{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1"}',
            "kubectl did not say which cluster it means; set provideClusterInfo: true",
        ),
        (
            '{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "spec": {"cluster": []}}',
            "kubectl did not say which cluster it means",
        ),
    ],
)
def test_what_is_no_request_is_one_line_with_its_cure(text: str, said: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        kubectl.parse(sent(text))
    assert said in str(refused.value)
    assert str(refused.value).endswith("run: juniper setup kubectl")


def test_arguments_are_none() -> None:
    with pytest.raises(ProtocolError):
        kubectl.parse(Request((b"juniper-kubectl", b"get-token"), {}))


def test_a_failure_is_status_1_whatever_it_is() -> None:
    reply = kubectl.render_error(JuniperError("nothing works", "run: juniper status"), Request((b"juniper-kubectl",)))
    assert reply.stderr == b"juniper-kubectl: nothing works; run: juniper status\n"
    assert (reply.stdout, reply.status) == (b"", 1)
