"""A scope's targets from their TOML tables, and what each asks of its scope."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from juniperd import order
from juniperd.issuer import glob, slug
from juniperd.issuer.party_file import REGION
from juniperd.issuer.policy import (
    Access,
    ApiTarget,
    AwsTarget,
    GitTarget,
    GoogleTarget,
    KubernetesTarget,
    RegistryTarget,
    RelyingParty,
    Scope,
    Target,
    token_scopes,
)
from juniperd.model import Kind
from juniperd.tomlfile import Table

ROLE_ARN = re.compile(r"arn:aws(-cn|-us-gov)?:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,128}")
SERVICE_ACCOUNT = re.compile(
    r"[a-z][a-z0-9-]{4,28}[a-z0-9]@[a-z][a-z0-9-]{4,28}[a-z0-9](\.[a-z0-9-]+)*\.iam\.gserviceaccount\.com"
)
GOOGLE_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
PERMISSIONS = ("read_registry", "write_registry")
Parties = Mapping[str, RelyingParty]


def read(table: Table, parties: Parties) -> tuple[Target, ...]:
    """A scope's targets, of which it has one at least; each kind's table may stand once."""
    targets = [reader(table.table(kind), parties) for kind, reader in _READERS.items() if kind in table]
    _check_eks(table, targets)
    if not targets:
        raise table.error("about", "the scope has no target", f"add [scope.{table.name}.aws]")
    return tuple(targets)


def _check_eks(table: Table, targets: list[Target]) -> None:
    """An EKS cluster knows the role of its scope, not our tokens."""
    eks = any(isinstance(t, KubernetesTarget) and t.relying_party.eks for t in targets)
    if eks and not any(isinstance(t, AwsTarget) for t in targets):
        cure = f"add [scope.{table.name}.aws] with the role of the cluster's access entry"
        raise table.error("kubernetes", "an EKS cluster is reached with the scope's AWS role, and it has none", cure)


def _api(table: Table, parties: Parties) -> ApiTarget:
    target = ApiTarget(_relying_party(table, parties, Kind.API))
    table.finish()
    return target


def _registry(table: Table, parties: Parties) -> RegistryTarget:
    party = _relying_party(table, parties, Kind.REGISTRY)
    if party.made_of is not None:
        if "permissions" in table:
            raise table.error(
                "permissions", "a cloud's registry asks its own IAM what may be done", "remove permissions"
            )
        table.finish()
        return RegistryTarget(party)
    wanted = table.words("permissions", PERMISSIONS) if "permissions" in table else frozenset(PERMISSIONS[:1])
    table.finish()
    if PERMISSIONS[0] not in wanted:
        cure = f'write permissions = ["{PERMISSIONS[0]}"], with or without {PERMISSIONS[1]}'
        raise table.error("permissions", "whoever pushes also pulls", cure)
    return RegistryTarget(party, tuple(word for word in order.SCOPES if word in wanted))


def _git(table: Table, parties: Parties) -> GitTarget:
    target = GitTarget(_relying_party(table, parties, Kind.GIT))
    table.finish()
    return target


def _relying_party(table: Table, parties: Parties, kind: Kind) -> RelyingParty:
    name = table.text("relying_party")
    party = parties.get(name)
    if party is None:
        raise table.error("relying_party", f"there is no relying party '{name}'", f"declare [relying_party.{name}]")
    if party.kind is not kind:
        raise table.error("relying_party", f"'{name}' is of kind {party.kind}, not {kind}", "name another one")
    return party


def _aws(table: Table, parties: Parties) -> AwsTarget:
    target = AwsTarget(_relying_party(table, parties, Kind.AWS), table.text("role_arn"), table.text("region"))
    table.finish()
    if not ROLE_ARN.fullmatch(target.role_arn):
        raise table.error("role_arn", f"'{target.role_arn}' is not the ARN of one role")
    if not REGION.fullmatch(target.region):
        raise table.error("region", f"'{target.region}' is not a region")
    return target


def _google(table: Table, parties: Parties) -> GoogleTarget:
    party = _relying_party(table, parties, Kind.GOOGLE)
    target = GoogleTarget(party, table.filled("service_account") or "", table.filled("project") or "")
    table.finish()
    if target.service_account and not SERVICE_ACCOUNT.fullmatch(target.service_account):
        cure = "write it as NAME@PROJECT.iam.gserviceaccount.com"
        raise table.error("service_account", f"'{target.service_account}' is not a service account's e-mail", cure)
    if target.project and not GOOGLE_PROJECT.fullmatch(target.project):
        raise table.error("project", f"'{target.project}' is not the id of a Google Cloud project", "write its id")
    return target


def _kubernetes(table: Table, parties: Parties) -> KubernetesTarget:
    party = _relying_party(table, parties, Kind.KUBERNETES)
    target = KubernetesTarget(party, table.text("namespace"), table.texts("groups", ()))
    table.finish()
    if party.made_of is not None and target.groups:
        raise table.error(
            "groups", "a cluster of a cloud's own knows the cloud's names, not our groups", "remove groups"
        )
    if not NAMESPACE.fullmatch(target.namespace):
        raise table.error("namespace", f"'{target.namespace}' is not a namespace")
    for group in target.groups:
        if not re.fullmatch(r"gitlab:project_env:[1-9][0-9]*:[a-z0-9-]+", group):
            raise table.error("groups", f"'{group}' is not gitlab:project_env:ID:SLUG")
    return target


_READERS: Mapping[Kind, Callable[[Table, Parties], Target]] = {
    Kind.AWS: _aws,
    Kind.GOOGLE: _google,
    Kind.KUBERNETES: _kubernetes,
    Kind.API: _api,
    Kind.REGISTRY: _registry,
    Kind.GIT: _git,
}


# --- what targets ask of their scope ----------------------------------------------------------------------------------


def check(table: Table, scope: Scope, *, minter: bool) -> None:
    """Refuse a target that its scope could not reach, or through which it would reach another's place."""
    _check_deploy_tokens(table, scope, minter=minter)
    _check_ecr(table, scope)
    _check_google(table, scope)
    _check_groups(table, scope)


def _check_groups(table: Table, scope: Scope) -> None:
    """A cluster's groups are those of the scope's own project and environment: others' would let a person in there."""
    environment = scope.environment or ""
    own = slug.of_environment(environment) if glob.is_literal(environment) else None
    for target in scope.targets:
        for group in target.groups if isinstance(target, KubernetesTarget) else ():
            _, _, project, environment_slug = group.split(":")
            if project != str(scope.project_id):
                told, cure = "project", "list groups of project_id alone"
            elif own is not None and environment_slug != own:
                told, cure = "environment", f"write gitlab:project_env:{project}:{own}"
            else:
                continue
            raise table.error("kubernetes", f"the group '{group}' is of another {told}", cure)


def _check_deploy_tokens(table: Table, scope: Scope, *, minter: bool) -> None:
    """A deploy token is one project's, made by the minter, and pushes only where the scope writes."""
    for target in scope.targets:
        wanted, key = token_scopes(target), target.relying_party.kind.value
        if not wanted:
            continue
        if scope.project_id is None:
            raise table.error(key, "a deploy token is made in one project", "name one project and its project_id")
        if not minter:
            cure = 'add [minter] url = "https://…" to issuer.toml'
            raise table.error(key, "deploy tokens are made by the minter, and none is configured", cure)
        if "write_registry" in wanted and scope.access is not Access.WRITE:
            raise table.error(key, "write_registry is for scopes that write", 'write access = "write", or remove it')


def _check_ecr(table: Table, scope: Scope) -> None:
    """An ECR login is made on the laptop of the scope's AWS credentials, which outlives them."""
    role = next((t for t in scope.targets if isinstance(t, AwsTarget)), None)
    for target in scope.targets:
        if not isinstance(target, RegistryTarget) or not target.is_ecr:
            continue
        account = target.account_id
        if role is None:
            cure = f"add [scope.{scope.name}.aws] with a role of the account {account}"
            raise table.error(
                "registry", "a registry of ECR is reached with the scope's AWS role, and it has none", cure
            )
        if role.account_id != account:
            told = f"the registry is of the account {account}, and the scope's role of {role.account_id}"
            raise table.error("registry", told, f"name a role of {account}, or another registry")
        if not scope.outlives:
            raise table.error("outlives", "an ECR login lives 12 h, longer than any scope", "add outlives = true")


def _check_google(table: Table, scope: Scope) -> None:
    """What is made on the laptop of the scope's Google access token needs one, and ends with it."""
    if any(isinstance(t, GoogleTarget) for t in scope.targets):
        return
    for target in scope.targets:
        if target.relying_party.made_of is Kind.GOOGLE:
            told = f"{target.relying_party.name} is reached with the scope's Google access token, and it has none"
            raise table.error(target.relying_party.kind.value, told, f"add [scope.{scope.name}.google]")
