"""What every endpoint stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from juniperd.issuer.config import IssuerConfig
from juniperd.issuer.state import State
from juniperd.model import Clock


@dataclass(frozen=True, slots=True)
class Ground:
    """Configuration, memory, time and names; ``new_id`` makes ids nobody can guess."""

    config: IssuerConfig
    state: State
    clock: Clock
    new_id: Callable[[], str]
