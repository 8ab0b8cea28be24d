"""Every file of a sandbox: configuration of issuer, agent, AWS and kubectl, certificates, the reader token."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Final

from juniperd.sandbox import gitlab_files, policy_files
from juniperd.sandbox.addresses import Addresses
from juniperd.sandbox.company import (
    AWS_SCOPES,
    CLUSTER,
    EKS_CLUSTER,
    EXPORT_ACCOUNT,
    GOOGLE_PROVIDER,
    IMAGES,
    REGION,
    SCOPES,
    Scope,
)
from juniperd.sandbox.environment import XDG, program
from juniperd.sandbox.folder import Folder
from juniperd.sandbox.gitlab_device import APPLICATION as ADVICE
from juniperd.sandbox.gitlab_sign_in import APPLICATION
from juniperd.sandbox.idp import BROWSER_CLIENT, DEVICE_CLIENT, LINK_CLIENT
from juniperd.sandbox.idp import SCOPES as IDP_SCOPES
from juniperd.sandbox.policy_cases import CASES
from juniperd.sandbox.tls import Contexts, certificates, contexts

IDENTITY: Final = "sandbox"
PAGE_SECRET: Final = "gitlab.secret"
CERTIFICATE: Final = "tls/server.pem"
CERTIFICATE_KEY: Final = "tls/server.key"
"""Of the issuer, the clusters and the API: they share one host."""


def write_certificates(folder: Folder) -> Contexts:
    """Before anything else, because the servers that everybody is told of need them."""
    made = certificates()
    ca = folder.write("ca.pem", made.ca)
    return contexts(ca, folder.write(CERTIFICATE, made.server), folder.write(CERTIFICATE_KEY, made.server_key))


def write_files(
    folder: Folder, at: Addresses, *, reader_token: str, minter_token: str = "", page_secret: str | None = None
) -> None:
    """Write all others; private ones with mode 0600. With a `page_secret` the issuer's page links, else `extern_uid`."""
    folder.write("gitlab.token", f"{reader_token}\n")
    gitlab_files.write(folder, at, minter_token, CERTIFICATE, CERTIFICATE_KEY)
    if page_secret is not None:
        folder.write(PAGE_SECRET, f"{page_secret}\n")
    folder.write("issuer.toml", _issuer_toml(at, on_page=page_secret is not None))
    folder.write("juniper.toml", _juniper_toml(at))
    folder.write("relying_parties/shop.toml", policy_files.relying_parties(at))
    folder.write("policy/shop.toml", policy_files.policy(SCOPES))
    folder.write("cases.toml", CASES)
    folder.write("aws/config", _aws_config(at, AWS_SCOPES))
    folder.write("aws/credentials", "")
    for scope in SCOPES:
        if scope.export:
            folder.write(f"gcloud/{scope.name}.json", _google_credentials(at, scope))
    folder.write("kube/config", _kubeconfig(at, (folder / "ca.pem").read_bytes()))
    for name in ("keys", "state", "home", *(f"home/{name.lower()}" for name in XDG)):
        (folder / name).mkdir(mode=0o700, exist_ok=True)


def _issuer_toml(at: Addresses, *, on_page: bool) -> str:
    rule = f'page = true, client_id = "{LINK_CLIENT}"' if on_page else 'provider = "oidc"'
    client = f'client_id = "{APPLICATION}"\nclient_secret_file = "{PAGE_SECRET}"\n' if on_page else ""
    return f"""\
version = 1
sandbox = true

[issuer]
url = "{at.issuer}"
listen = "{at.issuer_host}"
api_url = "{at.issuer_api}"
api_listen = "{at.issuer_api.partition("://")[2]}"
tls_cert = "{CERTIFICATE}"
tls_key = "{CERTIFICATE_KEY}"
keys = "keys"
state = "state"
policy = "policy"
relying_parties = "relying_parties"
sign_in_max_age = "12h"

[minter]
url = "{at.minter}"

[pipelines]

[network]
ca_file = "ca.pem"

[identity.{IDENTITY}]
kind = "oidc"
issuer = "{at.idp}"
client_id = "{BROWSER_CLIENT}"
device_client_id = "{DEVICE_CLIENT}"
scopes = {policy_files.array(IDP_SCOPES)}
flow = "device"
display_name = "Sandbox sign-in"
link = {{ {rule}, claim = "sub" }}
require_amr = ["mfa"]

[gitlab]
url = "{at.gitlab}"
token_file = "gitlab.token"
protected_environments = "licensed"
advice_client_id = "{ADVICE}"
{client}"""


def _juniper_toml(at: Addresses) -> str:
    return f"""\
version = 1
sandbox = true

[issuer.sandbox]
url = "{at.issuer}"
idp = "{at.idp}"

[issuer.sandbox.registry."{at.registry}"]
project = "{IMAGES}"

[issuer.sandbox.git."{at.gitlab_host}"]

[network]
ca_file = "ca.pem"

[store]
kind = "memory"
"""


def _aws_config(at: Addresses, scopes: Sequence[Scope]) -> str:
    helper = program("juniper-aws")
    quoted = f'"{helper}"' if " " in str(helper) else str(helper)
    return "\n".join(
        f"[profile {scope.name}]\n"
        f"credential_process = {quoted} --scope {scope.name}\n"
        f"region = {REGION}\n"
        f"endpoint_url = {at.aws}\n"
        for scope in scopes
    )


def _google_credentials(at: Addresses, scope: Scope) -> str:
    """As `juniper setup gcloud` writes it."""
    source = {"executable": {"command": f"{program('juniper-google')} --scope {scope.name}", "timeout_millis": 5000}}
    account = f"{at.google}/v1/projects/-/serviceAccounts/{EXPORT_ACCOUNT}:generateAccessToken"
    document = {
        "type": "external_account",
        "audience": f"//iam.googleapis.com/{GOOGLE_PROVIDER}",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{at.google}/v1/token",
        "credential_source": source,
        "service_account_impersonation_url": account,
        "service_account_impersonation": {"token_lifetime_seconds": 3600},
    }
    return json.dumps(document, indent=2) + "\n"


def _kubeconfig(at: Addresses, ca: bytes) -> str:
    """One user for both clusters, which says by itself that nothing is asked for: the helper does what there is."""
    servers = {CLUSTER: at.cluster, EKS_CLUSTER: at.eks}
    places = {s.namespace.relying_party: (s.name, s.namespace.name) for s in SCOPES if s.namespace is not None}
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(program("juniper-kubectl")),
        "interactiveMode": "Never",
        "provideClusterInfo": True,
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": CLUSTER,
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": servers[name],
                    "certificate-authority-data": base64.b64encode(ca).decode(),
                    "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"scope": scope}}],
                },
            }
            for name, (scope, _) in places.items()
        ],
        "users": [{"name": "juniper", "user": {"exec": plugin}}],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": "juniper", "namespace": namespace}}
            for name, (_, namespace) in places.items()
        ],
    }
    return json.dumps(document, indent=2) + "\n"
