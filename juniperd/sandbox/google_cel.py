"""The little of CEL that a provider of this sandbox takes: what `juniper issuer trust google` writes, and nothing else.

Mappings join claims and texts with `+`; conditions join comparisons with `&&`, by `==` with a text or by `in` a list of
texts. https://github.com/google/cel-spec
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

Claims = Mapping[str, object]
Mapped = Callable[[Claims], str]
Holds = Callable[[Claims], bool]

_PART: Final = re.compile(r"\s*(?:assertion\.([a-z_]+)|'((?:[^'\\]|\\['\\])*)'|(==|&&|in\b|[+\[\],]))")


class CelError(ValueError):
    """An expression that this sandbox does not read, or a claim that it needs and the token has not."""


def mapping(expression: str) -> Mapped:
    """What an attribute is made of."""
    parts = _parts(expression)
    if len(parts) % 2 == 0 or any(kind != "+" for kind, _ in parts[1::2]):
        raise CelError(f"not joined by +: {expression}")
    for kind, _ in parts[::2]:
        if kind not in ("claim", "text"):
            raise CelError(f"neither claim nor text: {expression}")
    return lambda claims: "".join(text if kind == "text" else _claim(claims, text) for kind, text in parts[::2])


def condition(expression: str) -> Holds:
    """Whether a token may be traded."""
    parts, tests = _parts(expression), []
    while True:
        test, parts = _comparison(parts)
        tests.append(test)
        if not parts:
            return lambda claims: all(test(claims) for test in tests)
        if parts.pop(0)[0] != "&&":
            raise CelError(f"not joined by &&: {expression}")


def _comparison(parts: list[tuple[str, str]]) -> tuple[Holds, list[tuple[str, str]]]:
    match parts:
        case [("claim", name), ("==", _), ("text", text), *rest]:
            return (lambda claims: _claim(claims, name) == text), rest
        case [("claim", name), ("in", _), ("[", _), *rest]:
            wanted, rest = _list(rest)
            return (lambda claims: _claim(claims, name) in wanted), rest
        case _:
            raise CelError(f"no comparison: {parts[:3]}")


def _list(parts: list[tuple[str, str]]) -> tuple[frozenset[str], list[tuple[str, str]]]:
    found: set[str] = set()
    while True:
        match parts:
            case [("text", text), ("]", _), *rest]:
                return frozenset({*found, text}), rest
            case [("text", text), (",", _), *rest]:
                found.add(text)
                parts = rest
            case _:
                raise CelError(f"no list of texts: {parts[:3]}")


def _claim(claims: Claims, name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        # In CEL a key that is not there is an error, and so is + or == between kinds.
        raise CelError(f"no such key: {name}")
    return value


def _parts(expression: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(expression.rstrip()):
        part = _PART.match(expression, at)
        if part is None:
            raise CelError(f"not understood at {at}: {expression}")
        claim, text, sign = part.groups()
        if claim is not None:
            found.append(("claim", claim))
        elif text is not None:
            found.append(("text", re.sub(r"\\(.)", r"\1", text)))
        else:
            found.append((sign, ""))
        at = part.end()
    return found
