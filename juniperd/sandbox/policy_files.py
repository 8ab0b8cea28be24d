"""The sandbox's policy, and what AWS is told of its scopes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from juniperd.sandbox.addresses import Addresses
from juniperd.sandbox.company import (
    API,
    API_AUDIENCE,
    AUDIENCE,
    CLUSTER,
    CODE,
    EKS_CLUSTER,
    EXPORT_ACCOUNT,
    GOOGLE,
    GOOGLE_PROJECT,
    GOOGLE_PROVIDER,
    ORIGINS,
    REGION,
    REGISTRY,
    RELYING_PARTY,
    Scope,
)


def relying_parties(at: Addresses) -> str:
    """The relying parties, each at its server here."""
    return f"""\
version = 1

[relying_party.{RELYING_PARTY}]
kind = "aws"
audience = "{AUDIENCE}"
endpoint = "{at.aws}"

[relying_party.{CLUSTER}]
kind = "kubernetes"
audience = "{CLUSTER}"
server = "{at.cluster}"
ca_file = "../ca.pem"

[relying_party.{EKS_CLUSTER}]
kind = "kubernetes"
audience = "{EKS_CLUSTER}"
server = "{at.eks}"
ca_file = "../ca.pem"
eks = "{EKS_CLUSTER}"
region = "{REGION}"

[relying_party.{API}]
kind = "api"
audience = "{API_AUDIENCE}"

[relying_party.{GOOGLE}]
kind = "google"
audience = "//iam.googleapis.com/{GOOGLE_PROVIDER}"
endpoint = "{at.google}"

[relying_party.{REGISTRY}]
kind = "registry"
provider = "gitlab"
host = "{at.registry}"

[relying_party.{CODE}]
kind = "git"
host = "{at.gitlab_host}"
"""


def policy(scopes: Sequence[Scope]) -> str:
    """The policy with these scopes."""
    head = """\
version = 1

[production]
environments = ["production", "production/**", "prod", "prod/**", "live"]
"""
    return head + "".join(_scope_toml(scope) for scope in scopes)


def _scope_toml(scope: Scope) -> str:
    ref = f'ref = "{scope.ref}"\n' if scope.ref is not None else ""
    return f"""
[scope.{scope.name}]
about = "{scope.about}"
project = "{scope.project}"
project_id = {scope.project_id}
environment = "{scope.environment}"
{ref}role = "{scope.role}"
origins = {array(ORIGINS)}
access = "{scope.access}"
activation = "{scope.activation}"
ttl = "1h"
{"".join(_targets_toml(scope))}"""


def _targets_toml(scope: Scope) -> Iterator[str]:
    if scope.bucket:
        yield f"""
[scope.{scope.name}.aws]
relying_party = "{RELYING_PARTY}"
role_arn = "{scope.role_arn}"
region = "{REGION}"
"""
    if scope.export:
        yield f"""
[scope.{scope.name}.google]
relying_party = "{GOOGLE}"
service_account = "{EXPORT_ACCOUNT}"
project = "{GOOGLE_PROJECT}"
"""
    if scope.namespace is not None:
        groups = f"groups = {array(scope.namespace.groups)}\n" if scope.namespace.groups else ""
        yield f"""
[scope.{scope.name}.kubernetes]
relying_party = "{scope.namespace.relying_party}"
namespace = "{scope.namespace.name}"
{groups}"""
    if scope.api is not None:
        yield f"""
[scope.{scope.name}.api]
relying_party = "{scope.api}"
"""
    for wanted, kind, party in ((scope.images, "registry", REGISTRY), (scope.code, "git", CODE)):
        if wanted:
            yield f"""
[scope.{scope.name}.{kind}]
relying_party = "{party}"
"""


def array(texts: Sequence[str]) -> str:
    """An array of TOML."""
    return "[" + ", ".join(f'"{text}"' for text in texts) + "]"


def trust(provider_arn: str, host: str, scope: Scope) -> Mapping[str, object]:
    """The trust policy of a scope's role: this issuer, this account's audience, this scope."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": provider_arn},
                "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"],
                "Condition": {
                    "StringEquals": {
                        f"{host}:aud": AUDIENCE,
                        f"{host}:sub": list(scope.subjects()),
                        "aws:RequestTag/juniper_scope": scope.name,
                    }
                },
            }
        ],
    }


def bucket_policy(scope: Scope) -> Mapping[str, object]:
    """What a scope's role may do: its own bucket and no other."""
    write = ["s3:PutObject", "s3:DeleteObject"] if scope.access == "write" else []
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
                "Resource": f"arn:aws:s3:::{scope.bucket}",
            },
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", *write],
                "Resource": f"arn:aws:s3:::{scope.bucket}/*",
            },
        ],
    }
