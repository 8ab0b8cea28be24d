"""The words that a decision refuses with because of what policy and GitLab say, and which policies can give each.

Words of an outage, of an answer half understood, of the identity's own rule or of what the issuer remembers are not
here: no case of ``juniper policy test`` supposes those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from juniperd.issuer import glob
from juniperd.issuer.policy import STARTED_BY_PEOPLE, Activation, Policy, Scope
from juniperd.model import Origin

Given = Callable[[Scope], bool]


def _always(_: Scope) -> bool:
    return True


def _kind(kind: str) -> Given:
    return lambda scope: (scope.ref or "").startswith(f"{kind}:")


def _named(key: str) -> Given:
    return lambda scope: getattr(scope, key) is not None


def _glob(key: str) -> Given:
    return lambda scope: not glob.is_literal(getattr(scope, key) or "")


_LAPTOP: Mapping[str, Given] = {
    "sign_in_flow": lambda scope: bool(scope.sign_in),
    "link_missing": _always,
    "origin": lambda scope: Origin.LAPTOP not in scope.origins,
    "source": lambda scope: Origin.PIPELINE in scope.origins and not scope.sources & STARTED_BY_PEOPLE,
    "user_inactive": _always,
    "project_mismatch": _always,
    "project_closed": _always,
    "ci_disabled": _always,
    "ci_config_elsewhere": lambda scope: not scope.ci_config_elsewhere,
    "not_a_member": _always,
    "membership_ended": _always,
    "role": _always,
    "new_branch": lambda scope: scope.ref is None,
    "ref_not_selectable": lambda scope: scope.ref is None,
    "ref_unselected": _glob("ref"),
    "ref_mismatch": _named("ref"),
    "ref_missing": _named("ref"),
    "ref_ambiguous": _named("ref"),
    "tag_protected": _kind("tag"),
    "branch_protected": _kind("branch"),
    "merge_only": lambda scope: _kind("branch")(scope) and scope.laptop_basis == "push",
    "environment_unselected": _glob("environment"),
    "environment_mismatch": _always,
    "environment_missing": _always,
    "environment_stopped": _always,
    "environment_protected": _always,
    "approval_required": _always,
    "production": _always,
    "asleep": lambda scope: scope.activation is Activation.SESSION,
}
_PIPELINE: Mapping[str, Given] = {
    "origin": lambda scope: Origin.PIPELINE not in scope.origins,
    "fork": _always,
    "source": _always,
    "job_ended": _always,
    "project_mismatch": lambda scope: scope.project_id is not None,
    "namespace_mismatch": _named("namespace_id"),
    "project_closed": _always,
    "ci_disabled": _always,
    "ci_config_elsewhere": lambda scope: not scope.ci_config_elsewhere,
    "user_inactive": _always,
    "not_a_member": _always,
    "role": _always,
    "ref_mismatch": _named("ref"),
    "ref_missing": _named("ref"),
    "ref_ambiguous": _named("ref"),
    "environment_mismatch": _named("environment"),
    "environment_action": _named("environment"),
    "environment_missing": _named("environment"),
}
REASONS: Mapping[Origin, Mapping[str, Given]] = {Origin.LAPTOP: _LAPTOP, Origin.PIPELINE: _PIPELINE}
"""Each word by who hears it, and whether some case of a scope could end in it."""


def possible(policy: Policy, origin: Origin) -> list[str]:
    """The words that some scope of this policy can refuse that origin with, in the order of the checks."""
    scopes = policy.scopes.values()
    return [
        word for word, given in REASONS[origin].items() if any(_can(word, given, s, policy, origin) for s in scopes)
    ]


def _can(word: str, given: Given, scope: Scope, policy: Policy, origin: Origin) -> bool:
    """Whether a scope can be refused so: one of another origin for that alone, and for production where it may be."""
    environment = scope.environment or ""
    elsewhere = word == "production" and glob.is_literal(environment) and not policy.is_production(environment)
    return given(scope) and not elsewhere and (word == "origin" or origin in scope.origins)
