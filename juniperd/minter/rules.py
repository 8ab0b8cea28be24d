"""What may be ordered at all: the minter's own limits, whatever its issuer signs."""

from __future__ import annotations

from dataclasses import dataclass

from juniperd.errors import OrderRefused, TokenRejected
from juniperd.jose import LEEWAY
from juniperd.order import LONGEST, Order

LONGEST_NAME = 255
"""Characters of a deploy token's name at GitLab."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The projects and the deploy-token scopes of ``minter.toml``."""

    projects: frozenset[int]
    scopes: frozenset[str]

    def check(self, order: Order, now: float) -> None:
        """Refuse a mint order that goes beyond them, or whose token would live too long."""
        self.check_project(order)
        beyond = [s for s in order.scopes if s not in self.scopes]
        if beyond:
            msg = f"this minter makes no token with {', '.join(beyond)}"
            raise OrderRefused(msg, "take it out of the issuer's policy, or set may_write = true in minter.toml")
        if not now < order.ends_at <= now + LONGEST + LEEWAY:
            cure = "compare the clocks of issuer and minter"
            raise TokenRejected(
                "ends_at", f"a token lives {LONGEST / 60:.0f} minutes at most, and not in the past", cure
            )
        if len(order.name) > LONGEST_NAME:
            raise TokenRejected("user", "the token's name would be longer than GitLab takes", "shorten the login")

    def check_project(self, order: Order) -> None:
        """Refuse a project that this minter was not given."""
        if order.project_id not in self.projects:
            msg = f"project {order.project_id} is not one of this minter's"
            raise OrderRefused(msg, "add it to projects in minter.toml, and start the minter again")
