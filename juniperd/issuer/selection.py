"""Selecting within a scope: a request narrows the scope's patterns and asserts nothing."""

from __future__ import annotations

from juniperd.issuer import glob
from juniperd.issuer.policy import Scope
from juniperd.issuer.verdict import Refused, Selection


def select(scope: Scope, *, environment: str | None, ref: str | None) -> Selection:
    """Narrow a scope's patterns by what a request selects; a literal pattern is its own default."""
    if ref is not None and scope.ref is None:
        return Selection(None, None, Refused("3", "ref_not_selectable", f"scope {scope.name} names no ref; omit ref"))
    chosen_ref, problem = _choose("3", "ref", scope.ref, ref)
    chosen_environment, other = _choose("4", "environment", scope.environment, environment)
    return Selection(chosen_environment, chosen_ref, problem or other)


def _choose(rule: str, what: str, pattern: str | None, wanted: str | None) -> tuple[str | None, Refused | None]:
    if pattern is None:
        wide = wanted is not None
        return None, Refused(rule, f"{what}_not_selectable", f"the scope has no {what}; omit it") if wide else None
    if wanted is None:
        if glob.is_literal(pattern):
            return pattern, None
        return None, Refused(rule, f"{what}_unselected", f"the scope covers '{pattern}'; choose one with --{what} NAME")
    # The kind of a ref stands before the colon, and a pattern's stars stay behind it.
    if not _is_name(wanted) or not glob.matches(pattern, wanted):
        return None, Refused(rule, f"{what}_mismatch", f"the scope covers '{pattern}'; choose one within it")
    return wanted, None


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 255 and text.isprintable()
