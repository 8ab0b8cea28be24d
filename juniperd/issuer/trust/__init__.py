"""What each relying party must be told to trust this issuer, printed ready to apply; one module per party."""

from __future__ import annotations

from typing import TypeVar

from juniperd.errors import ConfigError
from juniperd.issuer.policy import Scope
from juniperd.model import Kind, Origin

T = TypeVar("T")


def laptop_target(scope: Scope, made: type[T], kind: Kind) -> T:
    """What a scope for laptops reaches of one kind; :class:`ConfigError` where it reaches nothing of it."""
    target = next((t for t in scope.targets if isinstance(t, made)), None)
    if target is None:
        msg = f"scope {scope.name} has no {kind} table"
        raise ConfigError(msg, f"add [scope.{scope.name}.{kind}] to the policy")
    if Origin.LAPTOP not in scope.origins:
        msg = f"scope {scope.name} is not for laptops"
        raise ConfigError(msg, 'add "laptop" to its origins')
    return target
