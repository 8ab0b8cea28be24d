"""APIs that verify our tokens by themselves (RFC 9068): what the issuer signed is what they take."""

from __future__ import annotations

from juniperd.exchanges import Exchanged, ExchangeSettings, Offline
from juniperd.freshness import Window
from juniperd.model import BearerToken, IssuedToken, Kind

KIND = Kind.API
WINDOW = Window(renew_ahead=300.0, wait_below=120.0, margin=60.0)
"""A caller uses its token for a while after it has it, so nothing is served that is nearly over."""


def make(_settings: ExchangeSettings) -> ApiExchange:
    """The exchange; nobody is reached, so no setting matters."""
    return ApiExchange(WINDOW)


class ApiExchange(Offline):
    """Passes on."""

    async def trade(self, issued: IssuedToken) -> Exchanged:
        """The issued token itself."""
        return Exchanged(BearerToken(issued.token), issued.expires_at)
