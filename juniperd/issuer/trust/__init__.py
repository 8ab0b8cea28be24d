"""What each relying party must be told to trust this issuer, printed ready to apply; one module per party.

Each is told the origins that a scope names and no other: a laptop's token of a scope for pipelines alone opens nothing,
whatever the issuer signs, nor the reverse.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from juniperd.errors import ConfigError
from juniperd.issuer import claims
from juniperd.issuer.policy import Scope
from juniperd.model import Kind, Origin

T = TypeVar("T")


def reached(scope: Scope, made: type[T], kind: Kind) -> T:
    """What a scope reaches of one kind; :class:`ConfigError` where it reaches nothing of it."""
    target = next((t for t in scope.targets if isinstance(t, made)), None)
    if target is None:
        msg = f"scope {scope.name} has no {kind} table"
        raise ConfigError(msg, f"add [scope.{scope.name}.{kind}] to the policy")
    return target


def origins(scopes: Iterable[Scope]) -> list[Origin]:
    """The origins that any of these scopes names."""
    return sorted({origin for scope in scopes for origin in scope.origins})


def subjects(scope: Scope) -> list[str]:
    """The fixed ``sub`` of each origin; a scope of no single project has none, and :class:`ConfigError` says so."""
    if scope.project_id is None:
        msg = f"scope {scope.name} is for {scope.project} without project_id, so its tokens have no one subject to pin"
        raise ConfigError(msg, "give it project_id, with a scope of its own for each project")
    return [claims.subject(scope.name, origin, scope.project_id) for origin in origins([scope])]
