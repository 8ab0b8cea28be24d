"""EKS's side of a scope: an access entry for the scope's AWS role, whose tokens the laptop signs itself.

No identity provider is associated: a cluster takes one, which is often spent already, and it could test no more than
equality. The access entry gives the role the scope's own group, which the RoleBinding names.
"""

from __future__ import annotations

import json
import shlex

from juniperd.errors import ConfigError
from juniperd.issuer import claims
from juniperd.issuer.policy import AwsTarget, KubernetesTarget, RelyingParty, Scope


def party(scope: Scope) -> RelyingParty | None:
    """The scope's EKS cluster, where it has one."""
    parties = (t.relying_party for t in scope.targets if isinstance(t, KubernetesTarget))
    return next((p for p in parties if p.eks), None)


def as_commands(scope: Scope) -> str:
    """The access entry as a command of the AWS CLI."""
    cluster, role = _entry(scope)
    words = ["aws", "eks", "create-access-entry", "--region", cluster.region, "--cluster-name", cluster.eks]
    words += ["--principal-arn", role, "--type", "STANDARD"]
    return shlex.join([*words, "--kubernetes-groups", claims.scope_group(scope.name)])


def as_terraform(scope: Scope) -> str:
    """The same as Terraform."""
    cluster, role = _entry(scope)
    return f"""resource "aws_eks_access_entry" "juniper_{scope.name.replace("-", "_")}" {{
  cluster_name      = {json.dumps(cluster.eks)}
  principal_arn     = {json.dumps(role)}
  kubernetes_groups = [{json.dumps(claims.scope_group(scope.name))}]
  type              = "STANDARD"
}}"""


def _entry(scope: Scope) -> tuple[RelyingParty, str]:
    cluster = party(scope)
    role = next((t.role_arn for t in scope.targets if isinstance(t, AwsTarget)), None)
    if cluster is None or role is None:
        msg = f"scope {scope.name} reaches no EKS cluster with an AWS role"
        raise ConfigError(msg, f"add [scope.{scope.name}.aws] and a relying party with eks and region")
    return cluster, role
