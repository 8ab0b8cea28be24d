"""Basic credentials at the sandbox's GitLab, and the ban that too many wrong ones bring upon an address.

The figures are gitlab.com's: 300 failures in a minute shut an address out for 15 minutes, registry and Git alike,
and with it everybody behind it. A success forgets the failures. Who sends no credentials does not fail.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from juniperd.sandbox.gitlab_deploy_tokens import DeployToken, DeployTokens
from juniperd.sandbox.idp_grants import Clock

FAILURES: Final = 300
WINDOW: Final = 60
BAN: Final = 900.0
JOB_LOGIN: Final = "gitlab-ci-token"
"""The one login whose failures GitLab does not count."""


class DeniedError(Exception):
    """The credentials are wrong, expired or not understood: 401."""


@dataclass(slots=True)
class BasicAuth:
    """Whom Basic credentials name, and how often they were wrong: `failed` is by address, for this minute alone."""

    deploy_tokens: DeployTokens
    clock: Clock
    failed: dict[str, tuple[int, int]] = field(default_factory=dict)
    banned_until: dict[str, float] = field(default_factory=dict)

    def banned(self, request: web.Request) -> bool:
        """Whether this address is shut out at this moment."""
        return self.clock() < self.banned_until.get(_address(request), 0.0)

    def holder(self, request: web.Request) -> DeployToken | None:
        """The deploy token of a request, None where it has no credentials; `DeniedError` counts as a failure."""
        header = request.headers.get("Authorization")
        if header is None:
            return None
        username, secret = _pair(header)
        found = self.deploy_tokens.holder(username, secret)
        if found is not None:
            self.failed.pop(_address(request), None)
            return found
        if username != JOB_LOGIN:
            self._count(_address(request))
        raise DeniedError

    def _count(self, address: str) -> None:
        minute = int(self.clock()) // WINDOW
        since, count = self.failed.get(address, (minute, 0))
        count = count + 1 if since == minute else 1
        self.failed[address] = (minute, count)
        if count >= FAILURES:
            self.banned_until[address] = self.clock() + BAN
            del self.failed[address]


def forbidden() -> web.Response:
    """What a banned address gets: nothing that says for how long."""
    return web.Response(status=403, text="Forbidden\n")


def denied_text(url: str) -> str:
    """GitLab's sentence for wrong credentials."""
    return (
        "HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect or "
        "you're required to use a token instead of a password. If a token was provided, it was either incorrect, "
        "expired, or improperly scoped. "
        f"See {url}/help/topics/git/troubleshooting_git.md#error-on-git-fetch-http-basic-access-denied"
    )


def _address(request: web.Request) -> str:
    return request.remote or ""


def _pair(header: str) -> tuple[str, str]:
    """Username and secret; both empty, and so wrong, where the header is not Basic (RFC 7617)."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        username, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return username, secret
