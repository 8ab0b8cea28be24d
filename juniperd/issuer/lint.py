"""Findings that are allowed and worth a second look: each has a code that stays, a place, a reason and a cure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from juniperd.issuer import glob
from juniperd.issuer.config import Identity, IssuerConfig
from juniperd.issuer.job import MERGE_REQUEST
from juniperd.issuer.policy import (
    ROLES,
    Access,
    AwsTarget,
    GoogleTarget,
    Policy,
    RegistryTarget,
    Scope,
    Target,
    token_scopes,
)
from juniperd.issuer.protection import DEVELOPER, guess_tier
from juniperd.model import Origin

_PLACES = frozenset(
    (
        *("dev", "development", "test", "testing", "qa", "uat", "int", "integration", "review", "demo", "canary"),
        *(
            "staging",
            "stage",
            "preprod",
            "pre",
            "prod",
            "prd",
            "production",
            "live",
            "sandbox",
            "env",
            "default",
            "main",
        ),
    )
)
"""Words that name a place where software runs, or nothing at all, and no boundary of a system."""
_PRODUCTION = re.compile(r"(?<![a-z])(?:prod|production|prd|live)(?![a-z])", re.IGNORECASE)
_UNREVIEWED = {MERGE_REQUEST: "merge requests", "external_pull_request_event": "pull requests elsewhere"}
_LONG = 3600.0


class Severity(StrEnum):
    """Whether a finding fails ``juniper policy lint`` by itself."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth a second look; ``where`` is the path of the key it is about."""

    code: str
    where: tuple[str, ...]
    reason: str
    cure: str
    severity: Severity = Severity.WARNING

    def __str__(self) -> str:
        return f"{self.reason}; {self.cure}"


def of_policy(policy: Policy, today: date) -> list[Finding]:
    """What a reviewer of the policy should know on that day."""
    found = [finding for scope in policy.scopes.values() for finding in _of_scope(scope, policy, today)]
    found += _accounts(policy)
    used = {target.relying_party.name for scope in policy.scopes.values() for target in scope.targets}
    return found + [
        Finding(
            "party-unused",
            ("relying_party", name),
            f"relying party {name} is named by no scope: it trusts the issuer for nothing",
            "remove it, there too",
        )
        for name in policy.relying_parties
        if name not in used
    ]


def _of_scope(scope: Scope, policy: Policy, today: date) -> Iterator[Finding]:
    yield from _name(scope)
    yield from _breadth(scope)
    yield from _production(scope, policy, today)
    yield from _time(scope)
    yield from _sibling(scope, policy)


def at(scope: Scope, key: str) -> tuple[str, ...]:
    """The path of a scope's key."""
    return ("scope", scope.name, key)


def _name(scope: Scope) -> Iterator[Finding]:
    if set(scope.name.split("-")) <= _PLACES:
        yield Finding(
            "name-of-a-place",
            ("scope", scope.name),
            f"scope {scope.name} is named after a place, and everything there will end up in it",
            "name it after a system boundary, as invoice-archive-writer",
        )


def _breadth(scope: Scope) -> Iterator[Finding]:
    """What a scope takes that is wider than one reviewed job of one project."""
    laptop, pipeline = Origin.LAPTOP in scope.origins, Origin.PIPELINE in scope.origins
    if scope.environment is None:
        told = f"scope {scope.name} names no environment: every job of {scope.project} holds it"
        yield Finding("no-environment", at(scope, "environment"), told, "add environment")
    if not glob.is_literal(scope.project):
        told = f"scope {scope.name} is of every project that matches {scope.project}, those made tomorrow too"
        yield Finding("several-projects", at(scope, "project"), told, "write a scope for each project")
    elif scope.project_id is None:
        told = f"scope {scope.name} names no project_id: whoever is given the path {scope.project} next holds it"
        yield Finding("no-project-id", at(scope, "project"), told, "add project_id")
    if scope.laptop_basis == "merge":
        told = f"scope {scope.name} takes merging for pushing: wider than a job the person could write alone"
        yield Finding("merge-basis", at(scope, "laptop_basis"), told, "remove laptop_basis")
    if scope.ci_config_elsewhere:
        told = f"scope {scope.name} takes a CI file of another project: its authors hold the scope too"
        yield Finding(
            "ci-config-elsewhere", at(scope, "ci_config_elsewhere"), told, "move the CI file into the project"
        )
    if scope.role < DEVELOPER:
        role = {level: name for name, level in ROLES.items()}[scope.role]
        told = f"scope {scope.name} asks for {role}, who starts no job: a laptop is asked for developer all the same"
        yield Finding("role-below-developer", at(scope, "role"), told, 'write role = "developer"')
    for source in sorted(scope.sources & _UNREVIEWED.keys()) if pipeline else ():
        told = f"scope {scope.name} counts pipelines of {_UNREVIEWED[source]}, which run what nobody has reviewed"
        cure = f"remove {source} from sources"
        yield Finding("merge-request-source", at(scope, "sources"), told, cure, Severity.ERROR)
    if laptop and any("write_registry" in token_scopes(target) for target in scope.targets):
        told = f"scope {scope.name} lets laptops push images: what runs from them is built where nobody looks"
        yield Finding("laptop-pushes-images", (*at(scope, "registry"), "permissions"), told, "let pipelines push")


def _production(scope: Scope, policy: Policy, today: date) -> Iterator[Finding]:
    if Origin.LAPTOP not in scope.origins or scope.environment is None:
        return
    exception = scope.laptop_production
    if exception is not None:
        who, key = ", ".join(map(str, sorted(exception.users))), at(scope, "laptop_production")
        if exception.until < today:
            told = f"scope {scope.name} names people for production until {exception.until}, which is over"
            yield Finding("laptop-production-over", key, told, "remove laptop_production")
        else:
            told = f"scope {scope.name} is open to laptops in production until {exception.until}, for GitLab user {who}"
            yield Finding("laptop-production", key, told, "remove laptop_production when it has served")
    elif glob.is_literal(scope.environment) and policy.is_production(scope.environment):
        told = f"scope {scope.name} is production: no laptop holds it without laptop_production"
        yield Finding("production-closed", at(scope, "environment"), told, 'remove "laptop" from origins')
    if _reads_like_production(scope.environment, policy):
        told = f"scope {scope.name} lets laptops into '{scope.environment}', which reads like production and is not in [production]"
        cure = "name it in [production], or give the environment another name"
        yield Finding("production-unnamed", at(scope, "environment"), told, cure, Severity.ERROR)


def _reads_like_production(environment: str, policy: Policy) -> bool:
    """Whether a person would take it for production and the policy does not; a pattern counts as one name within it."""
    name = re.sub(r"\*+", "-", environment)
    return bool(_PRODUCTION.search(name)) and guess_tier(name) == "production" and not policy.is_production(name)


def _time(scope: Scope) -> Iterator[Finding]:
    """What ends up with the tool against what it is needed for."""
    if scope.access is Access.WRITE and scope.ttl >= _LONG and not any(map(_needs_the_hour, scope.targets)):
        told = f"scope {scope.name} writes with a token that lives an hour and cannot be called back"
        yield Finding("long-write", at(scope, "ttl"), told, 'write ttl = "15m"; the agent renews it')
    ecr = any(isinstance(target, RegistryTarget) and target.is_ecr for target in scope.targets)
    if scope.outlives and ecr:
        told = f"scope {scope.name} outlives its session: a login at ECR is good for 12 h, whatever ends here"
        yield Finding("outlives", at(scope, "outlives"), told, "give its role the one repository and no more")
    elif scope.outlives:
        told = f"scope {scope.name} says outlives, and nothing that it reaches does"
        yield Finding("outlives-unused", at(scope, "outlives"), told, "remove outlives")


def _needs_the_hour(target: Target) -> bool:
    """Whether no less can be had, as of AWS and of Google's own tokens, or none is needed: deploy tokens are deleted."""
    if isinstance(target, GoogleTarget):
        return not target.service_account
    return isinstance(target, AwsTarget) or bool(token_scopes(target))


def _accounts(policy: Policy) -> Iterator[Finding]:
    """Scopes that become one role or service account, which knows them apart no more than whoever trusts it does."""
    firsts: dict[str, Scope] = {}
    for scope in policy.scopes.values():
        for target in scope.targets:
            if (account := _account(target)) is None:
                continue
            first = firsts.setdefault(account, scope)
            if (first.origins, first.access) != (scope.origins, scope.access):
                told = f"scopes {first.name} and {scope.name} become {account}, and differ in origins or access: who holds one holds both"
                yield Finding(
                    "shared-account", at(scope, target.relying_party.kind), told, "give each an account of its own"
                )


def _account(target: Target) -> str | None:
    if isinstance(target, GoogleTarget):
        return target.service_account or None
    return target.role_arn if isinstance(target, AwsTarget) else None


def _sibling(scope: Scope, policy: Policy) -> Iterator[Finding]:
    if scope.access is not Access.WRITE or scope.read_only is not None:
        return
    other = next((s for s in policy.scopes.values() if s.access is Access.READ and _is_sibling(scope, s)), None)
    if other is not None:
        told = f"scope {scope.name} writes, and {other.name} beside it reads: --read-only does not know of it"
        yield Finding("read-only-missing", at(scope, "read_only"), told, f'add read_only = "{other.name}"')


def _is_sibling(scope: Scope, other: Scope) -> bool:
    """Named alike but for the last word, at the same place."""
    stem, alike = scope.name.rpartition("-")[0], other.name.rpartition("-")[0]
    here = (scope.project, scope.project_id, scope.environment, scope.ref)
    return bool(stem) and stem == alike and here == (other.project, other.project_id, other.environment, other.ref)


def of_config(config: IssuerConfig) -> list[Finding]:
    """What whoever runs the issuer should know."""
    return [finding for identity in config.identities.values() for finding in _of_identity(identity)]


_RULES = {
    "oidc": "set require_amr, require_acr or require_acrs",
    "okta": "set require_amr",
    "entra": "set require_acrs, or let a Conditional Access policy ask for a second factor",
}


def _of_identity(identity: Identity) -> Iterator[Finding]:
    where = ("identity", identity.name)
    if not identity.ruled:
        told = f"identity {identity.name} asks nothing of how people sign in"
        yield Finding("sign-in-unruled", where, told, _RULES[identity.kind])
    if identity.kind == "okta" and identity.require_acr:
        told = f"identity {identity.name} requires an acr, which Okta sends only where it is asked for: no device sign-in will do"
        yield Finding("okta-acr", (*where, "require_acr"), told, "use require_amr")
    if identity.flow == "device":
        told = f"identity {identity.name} signs in by device also where a browser is at hand"
        yield Finding("device-flow", (*where, "flow"), told, 'write flow = "auto", as RFC 10027 asks')
