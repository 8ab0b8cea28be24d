"""IAM's side of a scope: the OIDC provider, and a role whose trust policy lets in that scope's tokens alone.

A custom issuer's claims reach IAM as ``sub``, ``aud`` and session tags; the tags are tested as ``aws:RequestTag``,
which needs ``sts:TagSession``, and the source identity needs ``sts:SetSourceIdentity``, else every call fails.
"""

from __future__ import annotations

import json

from juniperd.issuer import claims
from juniperd.issuer.policy import AwsTarget, Scope
from juniperd.issuer.trust import laptop_target
from juniperd.model import Kind, Origin

SESSION = 3600
"""Seconds: a role for laptops lives an hour, and gets a role of its own where the job's allows more."""


def trust_policy(scope: Scope, *, issuer_url: str, pin_role: bool = False) -> dict[str, object]:
    """The role's ``AssumeRolePolicyDocument``."""
    target = laptop_target(scope, AwsTarget, Kind.AWS)
    host = issuer_url.partition("://")[2]
    partition = target.role_arn.split(":")[1]
    equals = {
        f"{host}:aud": target.relying_party.audience,
        f"{host}:sub": claims.subject(scope.name, Origin.LAPTOP, scope.project_id or 0),
        "aws:RequestTag/juniper_scope": scope.name,
        "aws:RequestTag/juniper_origin": Origin.LAPTOP.value,
        "aws:RequestTag/project_id": str(scope.project_id),
    }
    condition: dict[str, object] = {"StringEquals": equals}
    if pin_role:
        condition["Bool"] = {"sts:RoleAuthorizedByIdp": "true"}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "JuniperLaptop",
                "Effect": "Allow",
                "Principal": {"Federated": f"arn:{partition}:iam::{target.account_id}:oidc-provider/{host}"},
                "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"],
                "Condition": condition,
            }
        ],
    }


def as_json(scope: Scope, *, issuer_url: str, pin_role: bool = False) -> str:
    """Provider and role as the parameters of IAM's own calls."""
    target = laptop_target(scope, AwsTarget, Kind.AWS)
    return json.dumps(
        {
            "CreateOpenIDConnectProvider": {"Url": issuer_url, "ClientIDList": [target.relying_party.audience]},
            "CreateRole": {
                "RoleName": _role_name(target),
                "MaxSessionDuration": SESSION,
                "AssumeRolePolicyDocument": trust_policy(scope, issuer_url=issuer_url, pin_role=pin_role),
            },
        },
        indent=2,
    )


def as_terraform(scope: Scope, *, issuer_url: str, pin_role: bool = False) -> str:
    """The same as Terraform; one provider serves every scope of the account."""
    target = laptop_target(scope, AwsTarget, Kind.AWS)
    party = target.relying_party.name.replace("-", "_")
    policy = json.dumps(trust_policy(scope, issuer_url=issuer_url, pin_role=pin_role), indent=2)
    return f"""resource "aws_iam_openid_connect_provider" "juniper_{party}" {{
  url            = {json.dumps(issuer_url)}
  client_id_list = [{json.dumps(target.relying_party.audience)}]
}}

resource "aws_iam_role" "juniper_{scope.name.replace("-", "_")}" {{
  name                 = {json.dumps(_role_name(target))}
  max_session_duration = {SESSION}
  depends_on           = [aws_iam_openid_connect_provider.juniper_{party}]
  assume_role_policy   = jsonencode({policy.replace(chr(10), chr(10) + "  ")})
}}
"""


def _role_name(target: AwsTarget) -> str:
    return target.role_arn.rpartition("/")[2]
