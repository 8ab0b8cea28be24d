"""What the identity provider remembers: device codes (RFC 8628) and families of refresh tokens."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

Clock = Callable[[], float]
DEVICE_CODE_LIFE: Final = 600.0
SLOW_DOWN: Final = 5.0
# RFC 8628 section 6.1 recommends this alphabet: no vowels, so no words.
USER_CODE_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"


class OAuthError(Exception):
    """An error answer of RFC 6749 section 5.2 or RFC 8628 section 3.5."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.error, self.description, self.status = error, description, status


@dataclass(slots=True)
class DeviceCode:
    """One running device authorization; `decision` is a user name, or "" for a denial."""

    device_code: str
    user_code: str
    client_id: str
    scopes: tuple[str, ...]
    expires_at: float
    interval: float
    last_poll: float | None = None
    decision: str | None = None
    used: bool = False


@dataclass(slots=True)
class Family:
    """One sign-in and every refresh token that came from it; only `current` may be used."""

    user: str
    client_id: str
    scopes: tuple[str, ...]
    auth_time: int
    sid: str
    amr: tuple[str, ...]
    current: str = ""
    revoked: bool = False


@dataclass(slots=True)
class Grants:
    """Every code and family, with the rules of their use."""

    clock: Clock
    interval: float
    codes: dict[str, DeviceCode] = field(default_factory=dict)
    families: list[Family] = field(default_factory=list)
    by_refresh_token: dict[str, Family] = field(default_factory=dict)

    def start_device(self, client_id: str, scopes: tuple[str, ...]) -> DeviceCode:
        """A new pair of codes."""
        letters = "".join(secrets.choice(USER_CODE_LETTERS) for _ in range(8))
        code = DeviceCode(
            secrets.token_urlsafe(32),
            f"{letters[:4]}-{letters[4:]}",
            client_id,
            scopes,
            expires_at=self.clock() + DEVICE_CODE_LIFE,
            interval=self.interval,
        )
        self.codes[code.device_code] = code
        return code

    def by_user_code(self, typed: str) -> DeviceCode | None:
        """The live code a person typed; case and separators do not matter (RFC 8628 section 6.1)."""
        wanted = _letters(typed)
        live = (code for code in self.codes.values() if not code.used and code.expires_at > self.clock())
        return next((code for code in live if _letters(code.user_code) == wanted), None)

    def poll(self, device_code: str, client_id: str) -> DeviceCode:
        """The code, if this poll comes neither too late nor too soon nor from another client."""
        code = self.codes.get(device_code)
        if code is None or code.client_id != client_id or code.used:
            raise OAuthError("invalid_grant", "device code is unknown, was used, or belongs to another client")
        now = self.clock()
        if now >= code.expires_at:
            raise OAuthError("expired_token", "the device code has expired")
        too_soon = code.last_poll is not None and now - code.last_poll < code.interval
        code.last_poll = now
        if too_soon:
            code.interval += SLOW_DOWN
            raise OAuthError("slow_down", f"poll every {code.interval:.0f} seconds from now on")
        return code

    def new_refresh_token(self, family: Family) -> str:
        """The family's next refresh token; the one before is spent from now on."""
        family.current = secrets.token_urlsafe(32)
        self.by_refresh_token[family.current] = family
        return family.current

    def spend(self, refresh_token: str, client_id: str) -> Family:
        """The family of a current refresh token; a spent one ends the family (RFC 9700 section 4.14.2)."""
        family = self.by_refresh_token.get(refresh_token)
        if family is None or family.client_id != client_id:
            raise OAuthError("invalid_grant", "refresh token is unknown or belongs to another client")
        if family.current != refresh_token:
            family.revoked = True
        if family.revoked:
            raise OAuthError("invalid_grant", "refresh token was revoked")
        return family

    def revoke(self, token: str, client_id: str) -> None:
        """End the family of this token; an unknown one is no error (RFC 7009 section 2.2)."""
        family = self.by_refresh_token.get(token)
        if family is not None and family.client_id == client_id:
            family.revoked = True


def _letters(code: str) -> str:
    return "".join(letter for letter in code.upper() if letter.isalpha())
