"""Findings that are allowed and worth a second look."""

from __future__ import annotations

from juniperd.issuer.config import Identity, IssuerConfig
from juniperd.issuer.policy import Policy, Scope, token_scopes
from juniperd.model import Origin


def of_policy(policy: Policy) -> list[str]:
    """What a reviewer of the policy should know."""
    return [finding for scope in policy.scopes.values() for finding in _of_scope(scope, policy)]


def _of_scope(scope: Scope, policy: Policy) -> list[str]:
    found: list[str] = []
    if scope.environment is None:
        found.append(f"scope {scope.name} names no environment: every job of {scope.project} holds it")
    if scope.laptop_basis == "merge":
        found.append(f"scope {scope.name} takes merging for pushing: wider than a job the person could write alone")
    if scope.ci_config_elsewhere:
        found.append(f"scope {scope.name} takes a CI file of another project: its authors hold the scope too")
    literal = scope.environment is not None and "*" not in scope.environment
    production = literal and policy.is_production(scope.environment or "")
    if production and Origin.LAPTOP in scope.origins and scope.laptop_production is None:
        found.append(f"scope {scope.name} is production: no laptop holds it without laptop_production")
    pushes = any("write_registry" in token_scopes(target) for target in scope.targets)
    if pushes and Origin.LAPTOP in scope.origins:
        found.append(f"scope {scope.name} lets laptops push images: what runs from them is built where nobody looks")
    return found


def of_config(config: IssuerConfig) -> list[str]:
    """What whoever runs the issuer should know."""
    found = [f"identity {i.name} asks nothing of how people sign in: {_RULES[i.kind]}" for i in _unruled(config)]
    found += [
        f"identity {i.name} requires an acr, which Okta sends only where it is asked for: no device sign-in will do"
        for i in config.identities.values()
        if i.kind == "okta" and i.require_acr
    ]
    found += [
        f'identity {i.name} signs in by device also where a browser is at hand: RFC 10027 asks for flow = "auto" there'
        for i in config.identities.values()
        if i.flow == "device"
    ]
    return found


_RULES = {
    "oidc": "set require_amr, require_acr or require_acrs",
    "okta": "set require_amr",
    "entra": "set require_acrs, or let a Conditional Access policy ask for a second factor",
}


def _unruled(config: IssuerConfig) -> list[Identity]:
    return [i for i in config.identities.values() if not i.ruled]
