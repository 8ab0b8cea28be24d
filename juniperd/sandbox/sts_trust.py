"""IAM's evaluation of a role's trust policy for a web identity. Pure; what it does not know never allows.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

Context = Mapping[str, tuple[str, ...]]
ASSUME: Final = "sts:AssumeRoleWithWebIdentity"
TAG: Final = "sts:TagSession"
SOURCE_IDENTITY: Final = "sts:SetSourceIdentity"
_KNOWN_PARTS: Final = {"Sid", "Effect", "Principal", "Action", "Condition"}


def first_denied(trust: Mapping[str, Any], actions: Iterable[str], provider: str, context: Context) -> str | None:
    """The first of these actions that the policy does not allow, or None. `context` has lower-case keys."""
    statements = _listed(trust.get("Statement"))
    for action in actions:
        matching = [row["Effect"] for row in statements if _applies(row, action, provider, context)]
        if "Deny" in matching or "Allow" not in matching:
            return action
    return None


def _applies(statement: Mapping[str, Any], action: str, provider: str, context: Context) -> bool:
    deny = statement.get("Effect") == "Deny"
    if not set(statement) <= _KNOWN_PARTS:
        return deny
    if not any(like(pattern.lower(), action.lower()) for pattern in _listed(statement.get("Action"))):
        return False
    if not _principal(statement.get("Principal"), provider):
        return False
    conditions = statement.get("Condition", {})
    return all(
        _condition(operator, key.lower(), tuple(map(str, _listed(wanted))), context)
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _principal(principal: object, provider: str) -> bool:
    if principal == "*":
        return True
    return isinstance(principal, Mapping) and provider in _listed(principal.get("Federated"))


def _condition(operator: str, key: str, wanted: tuple[str, ...], context: Context) -> bool:
    quantifier, colon, rest = operator.partition(":")
    if not colon:
        quantifier, rest = "", operator
    name = rest.removesuffix("IfExists")
    values = context.get(key, ())
    if name == "Null":
        return wanted == (("true",) if not values else ("false",))
    if not values and name != rest:
        return True
    if quantifier == "ForAllValues":
        return all(_compare(name, (value,), wanted) for value in values)
    if quantifier not in ("", "ForAnyValue"):
        return False
    return _compare(name, values, wanted)


def _compare(name: str, values: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    negated = name.startswith("StringNot")
    test = _OPERATORS.get(name.replace("StringNot", "String"))
    if test is None:
        return False
    hit = any(test(pattern, value) for value in values for pattern in wanted)
    return not hit if negated else hit


def like(pattern: str, value: str) -> bool:
    """IAM's wildcards: `*` is any run of characters, `?` any one."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, value, flags=re.DOTALL) is not None


def _equal(pattern: str, value: str) -> bool:
    return pattern == value


def _equal_folded(pattern: str, value: str) -> bool:
    return pattern.lower() == value.lower()


_OPERATORS: Final[dict[str, Callable[[str, str], bool]]] = {
    "StringEquals": _equal,
    "StringEqualsIgnoreCase": _equal_folded,
    "StringLike": like,
    "ArnEquals": like,
    "ArnLike": like,
    "Bool": _equal_folded,
}


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
