"""The words that a decision refuses with because of what policy and GitLab say, and which policies can give each.

Words of an outage, of an answer half understood, of the identity's own rule or of what the issuer remembers are not
here: no case of ``juniper policy test`` supposes those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from juniperd.issuer import glob
from juniperd.issuer.policy import Activation, Policy, Scope
from juniperd.model import Origin

Given = Callable[[Scope], bool]


def _always(_: Scope) -> bool:
    return True


def _kind(kind: str) -> Given:
    return lambda scope: (scope.ref or "").startswith(f"{kind}:")


def _glob(key: str) -> Given:
    return lambda scope: not glob.is_literal(getattr(scope, key) or "")


REASONS: Mapping[str, Given] = {
    "sign_in_flow": lambda scope: bool(scope.sign_in),
    "link_missing": _always,
    "origin": lambda scope: Origin.LAPTOP not in scope.origins and scope.project_id is not None,
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
    "ref_mismatch": lambda scope: scope.ref is not None,
    "ref_missing": lambda scope: scope.ref is not None,
    "ref_ambiguous": lambda scope: scope.ref is not None,
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
"""Each word, and whether some case of that scope could end in it."""


def possible(policy: Policy) -> list[str]:
    """The words that some scope of this policy can be refused with, in the order of the checks."""
    return [
        word
        for word, given in REASONS.items()
        if any(given(s) and _there(word, s, policy) for s in policy.scopes.values())
    ]


def _there(word: str, scope: Scope, policy: Policy) -> bool:
    """Whether a scope may be of production at all, where that is the word."""
    environment = scope.environment or ""
    return word != "production" or not glob.is_literal(environment) or policy.is_production(environment)
