"""APIs that verify our tokens by themselves (RFC 9068): what the issuer signed is what they take."""

from __future__ import annotations

from juniperd.exchanges import Exchanged, ExchangeSettings
from juniperd.freshness import Window
from juniperd.model import BearerToken, IssuedToken, Kind

KIND = Kind.API
WINDOW = Window(renew_ahead=300.0, wait_below=120.0, margin=60.0)
"""A caller uses its token for a while after it has it, so nothing is served that is nearly over."""


def make(settings: ExchangeSettings) -> ApiExchange:
    """The exchange."""
    return ApiExchange(settings)


class ApiExchange:
    """Passes on, and keeps nothing."""

    def __init__(self, settings: ExchangeSettings) -> None:
        self._settings = settings

    @property
    def window(self) -> Window:
        """An API's."""
        return WINDOW

    async def warm(self) -> None:
        """Nothing is slow here."""

    async def trade(self, issued: IssuedToken) -> Exchanged:
        """The issued token itself."""
        return Exchanged(BearerToken(issued.token), issued.expires_at)

    def close(self) -> None:
        """Nothing is open."""
