"""IAM's side of a scope: the OIDC provider, and a role whose trust policy lets in that scope's tokens alone.

A custom issuer's claims reach IAM as ``sub``, ``aud`` and session tags; the tags are tested as ``aws:RequestTag``,
which needs ``sts:TagSession``, and the source identity needs ``sts:SetSourceIdentity``, else every call fails.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from juniperd.issuer.policy import AwsTarget, Scope
from juniperd.issuer.trust import origins, reached, subjects
from juniperd.model import Kind

SESSION = 3600
"""Seconds: what a scope becomes lives an hour; a job's own role that allows more gets a neighbour for this."""


def trust_policy(scope: Scope, *, issuer_url: str, pin_role: bool = False) -> dict[str, object]:
    """The role's ``AssumeRolePolicyDocument``."""
    target = reached(scope, AwsTarget, Kind.AWS)
    host = issuer_url.partition("://")[2]
    partition = target.role_arn.split(":")[1]
    named = origins([scope])
    equals = {
        f"{host}:aud": target.relying_party.audience,
        f"{host}:sub": _one_or_all(subjects(scope)),
        "aws:RequestTag/juniper_scope": scope.name,
        "aws:RequestTag/juniper_origin": _one_or_all([origin.value for origin in named]),
        "aws:RequestTag/project_id": str(scope.project_id),
    }
    condition: dict[str, object] = {"StringEquals": equals}
    if pin_role:
        condition["Bool"] = {"sts:RoleAuthorizedByIdp": "true"}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Juniper" + "".join(origin.capitalize() for origin in named),
                "Effect": "Allow",
                "Principal": {"Federated": f"arn:{partition}:iam::{target.account_id}:oidc-provider/{host}"},
                "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"],
                "Condition": condition,
            }
        ],
    }


def as_json(scope: Scope, *, issuer_url: str, pin_role: bool = False) -> str:
    """Provider and role as the parameters of IAM's own calls."""
    target = reached(scope, AwsTarget, Kind.AWS)
    path, name = _role(target)
    return json.dumps(
        {
            "CreateOpenIDConnectProvider": {"Url": issuer_url, "ClientIDList": [target.relying_party.audience]},
            "CreateRole": {
                **({"Path": path} if path else {}),
                "RoleName": name,
                "MaxSessionDuration": SESSION,
                "AssumeRolePolicyDocument": trust_policy(scope, issuer_url=issuer_url, pin_role=pin_role),
            },
        },
        indent=2,
    )


def as_terraform(scope: Scope, *, issuer_url: str, pin_role: bool = False) -> str:
    """The same as Terraform; one provider serves every scope of the account."""
    target = reached(scope, AwsTarget, Kind.AWS)
    party = target.relying_party.name.replace("-", "_")
    policy = json.dumps(trust_policy(scope, issuer_url=issuer_url, pin_role=pin_role), indent=2)
    path, name = _role(target)
    lies = f"  path                 = {json.dumps(path)}\n" if path else ""
    return f"""resource "aws_iam_openid_connect_provider" "juniper_{party}" {{
  url            = {json.dumps(issuer_url)}
  client_id_list = [{json.dumps(target.relying_party.audience)}]
}}

resource "aws_iam_role" "juniper_{scope.name.replace("-", "_")}" {{
  name                 = {json.dumps(name)}
{lies}  max_session_duration = {SESSION}
  depends_on           = [aws_iam_openid_connect_provider.juniper_{party}]
  assume_role_policy   = jsonencode({policy.replace(chr(10), chr(10) + "  ")})
}}
"""


def _one_or_all(values: Sequence[str]) -> str | list[str]:
    """As IAM itself prints a condition: a text by itself in no list."""
    return values[0] if len(values) == 1 else list(values)


def _role(target: AwsTarget) -> tuple[str, str]:
    """Its path, empty where it lies in none, and its name (IAM's user guide, "Friendly names and paths")."""
    path, _, name = target.role_arn.partition(":role/")[2].rpartition("/")
    return (f"/{path}/" if path else ""), name
