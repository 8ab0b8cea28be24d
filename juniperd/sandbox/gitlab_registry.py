"""The sandbox GitLab's `GET /jwt/auth`: where a registry sends its clients for a token.

Protocol: https://distribution.github.io/distribution/spec/auth/token/ and, for the signing key's id,
https://distribution.github.io/distribution/spec/auth/jwt/.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from juniperd.sandbox.gitlab_basic_auth import BasicAuth, DeniedError, denied_text, forbidden
from juniperd.sandbox.gitlab_deploy_tokens import DeployToken
from juniperd.sandbox.idp_grants import Clock
from juniperd.sandbox.world import World

SERVICE: Final = "container_registry"
ISSUER: Final = "gitlab-issuer"
LIFE: Final = 300
_NEEDS: Final = {"pull": "read_registry", "push": "write_registry"}
_KID_BYTES: Final = 30


class RegistryKey:
    """The key that signs for the registry, and the certificate by which the registry knows it."""

    def __init__(self) -> None:
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        info = self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        text = base64.b32encode(hashlib.sha256(info).digest()[:_KID_BYTES]).decode()
        self.kid = ":".join(text[at : at + 4] for at in range(0, len(text), 4))

    def sign(self, claims: dict[str, object]) -> str:
        """A JWT that the registry takes."""
        return jwt.encode(claims, self._private, algorithm="RS256", headers={"kid": self.kid})

    def certificate(self) -> bytes:
        """PEM for the registry's `rootcertbundle`; it signs itself and lasts a month."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        start = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
        made = x509.CertificateBuilder(name, name, self._private.public_key(), x509.random_serial_number())
        made = made.not_valid_before(start).not_valid_after(start + dt.timedelta(days=30))
        return made.sign(self._private, hashes.SHA256()).public_bytes(Encoding.PEM)


@dataclass(slots=True)
class RegistryTokens:
    """Registry tokens for deploy tokens, each for its own project and cut to its scopes."""

    world: World
    url: str
    basic: BasicAuth
    clock: Clock
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    _key: RegistryKey | None = None

    @property
    def key(self) -> RegistryKey:
        """Made when first needed, for most sandboxes have no registry."""
        self._key = self._key or RegistryKey()
        return self._key

    def routes(self) -> list[web.RouteDef]:
        """`GET` alone: GitLab has no OAuth 2 way to a registry token."""
        return [web.get("/jwt/auth", self._auth), web.post("/jwt/auth", _not_there)]

    async def _auth(self, request: web.Request) -> web.Response:
        if self.basic.banned(request):
            return forbidden()
        try:
            holder = self.basic.holder(request)
        except DeniedError:
            return _problem("UNAUTHORIZED", denied_text(self.url), 401)
        if request.query.get("service") != SERVICE:
            return web.Response(status=404)
        asked = " ".join(request.query.getall("scope", [])).split()
        if holder is None and not asked:
            return _problem("DENIED", "access forbidden", 403)
        access = [found for scope in asked if (found := self._access(holder, scope)) is not None]
        return web.json_response({"token": self.key.sign(self._claims(holder, access))})

    def _claims(self, holder: DeployToken | None, access: list[dict[str, object]]) -> dict[str, object]:
        now = int(self.clock())
        return {
            "iss": ISSUER,
            "aud": SERVICE,
            "sub": "" if holder is None else holder.username,
            "jti": self.new_id(),
            "iat": now,
            "nbf": now - 5,
            "exp": now + LIFE,
            "access": access,
        }

    def _access(self, holder: DeployToken | None, scope: str) -> dict[str, object] | None:
        """What of one scope this token may; None where nothing is left, which GitLab says by leaving it out."""
        kind, _, rest = scope.partition(":")
        name, _, asked = rest.rpartition(":")
        if holder is None or kind != "repository" or self._project_id(name) != holder.project_id:
            return None
        actions = [action for action in asked.split(",") if _NEEDS.get(action) in holder.scopes]
        return {"type": kind, "name": name, "actions": actions} if actions else None

    def _project_id(self, name: str) -> int | None:
        """The project whose path is this image's name, or the longest beginning of it."""
        for project in sorted(self.world.projects, key=lambda row: -len(row.path)):
            if f"{name}/".startswith(f"{project.path}/"):
                return project.id
        return None


async def _not_there(_: web.Request) -> web.Response:
    return web.Response(status=404)


def _problem(code: str, message: str, status: int) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status)
