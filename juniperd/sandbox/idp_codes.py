"""Authorization codes with PKCE (RFC 6749 section 4.1, RFC 7636, OpenID Connect Core 3.1), and browser sessions."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from juniperd.sandbox.idp_grants import Clock, Family, OAuthError

CODE_LIFE: Final = 60.0
# RFC 8252 section 7.3: registered as http://127.0.0.1/callback, and the port is whatever the system gave.
_REDIRECT: Final = re.compile(r"http://127\.0\.0\.1(:[0-9]{1,5})?/callback")
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client's link asked for; its redirect URI has been checked."""

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str
    nonce: str
    challenge: str
    max_age: int | None
    anew: bool


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that somebody has signed in with."""

    user: str
    auth_time: int
    sid: str


@dataclass(slots=True)
class Code:
    """A code on its way through a browser; `family` is what it was traded for."""

    asked: Asked
    session: Session
    expires_at: float
    family: Family | None = None


@dataclass(slots=True)
class Codes:
    """Every question, code and session, with the rules of their use."""

    clock: Clock
    questions: dict[str, Asked] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)

    def ask(self, query: Mapping[str, str], scopes: tuple[str, ...]) -> Asked:
        """What this link asks for, or an OAuthError; only for a client and redirect URI that go together."""
        max_age = query.get("max_age", "")
        if max_age and not max_age.isdecimal():
            raise OAuthError("invalid_request", "max_age is no number")
        if query.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "this provider knows response_type=code")
        challenge = query.get("code_challenge", "")
        if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
            raise OAuthError("invalid_request", "this client needs PKCE with S256")
        wanted = tuple(query.get("scope", "").split())
        if "openid" not in wanted or not set(wanted) <= set(scopes):
            raise OAuthError("invalid_scope", "the scopes are openid, profile and offline_access")
        age = int(max_age) if max_age else None
        names = ("client_id", "redirect_uri", "state", "nonce")
        client_id, redirect_uri, state, nonce = (query.get(name, "") for name in names)
        # OpenID Connect Core section 3.1.2.1: max_age=0 asks for the same as prompt=login.
        anew = age == 0 or "login" in query.get("prompt", "").split()
        return Asked(client_id, redirect_uri, wanted, state, nonce, challenge, age, anew)

    def remember(self, asked: Asked) -> str:
        """A number for the page's form."""
        number = secrets.token_urlsafe(16)
        self.questions[number] = asked
        return number

    def session(self, cookie: str | None, user: str, asked: Asked) -> tuple[str, Session]:
        """The browser's session, if it is this person's and young enough (`max_age`), else a new one."""
        known = self.sessions.get(cookie or "")
        now = int(self.clock())
        young = (
            known is not None and not asked.anew and (asked.max_age is None or now - known.auth_time <= asked.max_age)
        )
        if cookie is not None and known is not None and known.user == user and young:
            return cookie, known
        made = secrets.token_urlsafe(24)
        self.sessions[made] = Session(user, now, secrets.token_urlsafe(16))
        return made, self.sessions[made]

    def issue(self, asked: Asked, session: Session) -> str:
        """A code for what was asked."""
        code = secrets.token_urlsafe(32)
        self.codes[code] = Code(asked, session, self.clock() + CODE_LIFE)
        return code

    def redeem(self, form: Mapping[str, str], client_id: str) -> Code:
        """The code behind a token request; one that comes again ends what it was traded for (RFC 6749 4.1.2)."""
        code = self.codes.get(form.get("code", ""))
        if code is None or code.asked.client_id != client_id or self.clock() >= code.expires_at:
            raise OAuthError("invalid_grant", "the code is unknown, has expired, or belongs to another client")
        if code.family is not None:
            code.family.revoked = True
            raise OAuthError("invalid_grant", "the code was used")
        if form.get("redirect_uri") != code.asked.redirect_uri:
            raise OAuthError("invalid_grant", "the redirect URI is another than the code's")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != code.asked.challenge:
            raise OAuthError("invalid_grant", "the code verifier does not fit (PKCE)")
        return code


def is_redirect(uri: str) -> bool:
    """Whether a code may be sent there."""
    return _REDIRECT.fullmatch(uri) is not None
