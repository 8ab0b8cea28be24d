"""kubectl's exec plugin (client.authentication.k8s.io, ``v1`` and ``v1beta1``), as ``juniper-kubectl``.

What is asked stands in ``KUBERNETES_EXEC_INFO``, the scope in the cluster's own extension, so one user entry serves all
clusters (Kubernetes documentation, "client-go credential plugins"). That extension selects and never authorises: the
server and the CA that kubectl is about to show the token to go along, and the broker compares them. The answer carries
the apiVersion that was asked, exactly, and an end that comes before the true one: after a 401 kubectl does not ask again.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import cast

from juniperd import fingerprint
from juniperd.address import is_api_server, parts_of
from juniperd.errors import JuniperError, ProtocolError, TargetUnknown
from juniperd.model import ISSUER_NAME, NAME, BearerToken, Cluster, CredentialRequest, Kind, Lease, rfc3339
from juniperd.protocols import Reply
from juniperd.wire import Request

HELPER = "juniper-kubectl"
INPUT: frozenset[str] = frozenset()
VARIABLE = "KUBERNETES_EXEC_INFO"
GROUP = "client.authentication.k8s.io"
VERSIONS = (f"{GROUP}/v1", f"{GROUP}/v1beta1")
EXTENSION = f"{GROUP}/exec"
EARLY = 60.0
"""Seconds by which the end that kubectl hears comes before the true one."""
SETUP = "run: juniper setup kubectl"
_SELECTORS = ("environment", "ref")
_KNOWN = frozenset({"scope", "issuer", *_SELECTORS})

Raw = Mapping[str, object]


def parse(request: Request) -> CredentialRequest:
    """The scope that the cluster's extension selects, and the cluster itself."""
    if request.arguments:
        msg = f"{HELPER} takes no arguments"
        raise ProtocolError(msg, SETUP)
    info = _info(request.variables.get(VARIABLE, ""))
    cluster = _mapping(_mapping(info.get("spec")).get("cluster"))
    if not cluster:
        msg = "kubectl did not say which cluster it means"
        raise ProtocolError(msg, f"set provideClusterInfo: true for this user; or {SETUP}")
    config = _mapping(cluster.get("config"))
    if not config:
        msg = f"the cluster {_shown(cluster)} names no scope in an extension {EXTENSION}"
        raise TargetUnknown(msg, SETUP)
    return CredentialRequest(
        scope=_name(config, "scope", NAME) or "",
        kind=Kind.KUBERNETES,
        issuer=_name(config, "issuer", ISSUER_NAME),
        environment=_text(config, "environment"),
        ref=_text(config, "ref"),
        cluster=_cluster(cluster),
        form=str(info["apiVersion"]),
    )


def _info(text: str) -> Raw:
    """The ExecCredential that came, of a version we speak."""
    try:
        info = _mapping(json.loads(text)) if text else {}
    except (ValueError, RecursionError):
        info = {}
    if info.get("kind") != "ExecCredential":
        msg = f"{VARIABLE} is missing or no ExecCredential"
        raise ProtocolError(msg, f"let kubectl run {HELPER}; or {SETUP}")
    if info.get("apiVersion") not in VERSIONS:
        msg = f"kubectl speaks {str(info.get('apiVersion'))[:80]}, this agent {' and '.join(VERSIONS)}"
        raise ProtocolError(msg, f"set apiVersion: {VERSIONS[0]} for this user; or {SETUP}")
    return info


def _mapping(value: object) -> Raw:
    return value if isinstance(value, dict) else {}


def _shown(cluster: Raw) -> str:
    return str(cluster.get("server", ""))[:120]


def _name(config: Raw, key: str, pattern: re.Pattern[str]) -> str | None:
    value = _text(config, key)
    if key == "scope" and value is None:
        msg = f"the extension {EXTENSION} names no scope"
        raise TargetUnknown(msg, SETUP)
    if value is not None and not pattern.fullmatch(value):
        msg = f"'{value[:80]}' is not the name of a{'n' if key == 'issuer' else ''} {key}"
        raise TargetUnknown(msg, SETUP)
    return value


def _text(config: Raw, key: str) -> str | None:
    if unknown := sorted(config.keys() - _KNOWN):
        msg = f"the extension {EXTENSION} has '{unknown[0][:80]}', which this agent does not know"
        raise TargetUnknown(msg, SETUP)
    value = config.get(key)
    if value is None or (isinstance(value, str) and value.isprintable() and 0 < len(value) <= 255):
        return value
    msg = f"'{key}' in the extension {EXTENSION} is no text"
    raise TargetUnknown(msg, SETUP)


def _cluster(cluster: Raw) -> Cluster:
    """The server with its CA; nothing is handed out to one whose name is not checked."""
    server = cluster.get("server")
    if not isinstance(server, str) or not is_api_server(server):
        msg = f"the cluster's server '{_shown(cluster)}' is no https URL"
        raise TargetUnknown(msg, SETUP)
    if cluster.get("insecure-skip-tls-verify"):
        msg = f"the cluster {_shown(cluster)} is not verified (insecure-skip-tls-verify)"
        raise TargetUnknown(msg, f"remove that line; or {SETUP}")
    if cluster.get("tls-server-name") not in (None, "", parts_of(server).hostname):
        msg = f"the cluster {_shown(cluster)} is verified by another name (tls-server-name)"
        raise TargetUnknown(msg, f"remove that line; or {SETUP}")
    return Cluster(server.rstrip("/"), _authority(cluster))


def _authority(cluster: Raw) -> str:
    data = cluster.get("certificate-authority-data") or ""
    try:
        text = base64.b64decode(str(data), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        text = "-"
    found = fingerprint.of_pem(text) if text else ""
    if found is None:
        msg = f"the CA of the cluster {_shown(cluster)} is no certificate"
        raise TargetUnknown(msg, SETUP)
    return found


def render(lease: Lease, form: str) -> Reply:
    """The ExecCredential, of the version that was asked."""
    token = cast("BearerToken", lease.credential).token.reveal()
    status = {"token": token, "expirationTimestamp": rfc3339(lease.expires_at - EARLY)}
    document = {"kind": "ExecCredential", "apiVersion": form, "status": status}
    return Reply(stdout=json.dumps(document).encode() + b"\n")


def render_error(error: JuniperError, _request: Request) -> Reply:
    """One line; kubectl adds its own, and the status says no more than that there is nothing."""
    return Reply(stderr=f"{HELPER}: {error}\n".encode(), status=1)
