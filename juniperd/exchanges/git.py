"""Logins for Git over https: the deploy token that the issuer had made for one project is what Git shows."""

from __future__ import annotations

from juniperd.exchanges import Exchanged, ExchangeSettings, Offline, basic_login
from juniperd.freshness import Window
from juniperd.model import IssuedToken, Kind

KIND = Kind.GIT
WINDOW = Window(renew_ahead=1200.0, wait_below=600.0, margin=60.0)
"""A clone shows its login once for each of its calls, so what is served lasts a while."""


def make(_settings: ExchangeSettings) -> GitExchange:
    """The exchange; nobody is reached, so no setting matters."""
    return GitExchange(WINDOW)


class GitExchange(Offline):
    """Passes on."""

    async def trade(self, issued: IssuedToken) -> Exchanged:
        """The deploy token as a login for the one host that the issuer named."""
        return basic_login(issued)
