"""A small image, pushed into the sandbox's registry as a pipeline would: layer, configuration, manifest.

Format: https://github.com/opencontainers/image-spec; protocol: https://github.com/opencontainers/distribution-spec.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import ssl
import tarfile
from dataclasses import dataclass
from typing import Final

import aiohttp

from juniperd.sandbox.folder import SandboxError

_OCI: Final = "application/vnd.oci.image"


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes with their media type."""

    kind: str
    content: bytes

    @property
    def digest(self) -> str:
        """Its name in a registry."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    def described(self) -> dict[str, object]:
        """An entry of a manifest."""
        return {"mediaType": self.kind, "digest": self.digest, "size": len(self.content)}


@dataclass(frozen=True, slots=True)
class Image:
    """One image."""

    config: Blob
    layer: Blob

    @classmethod
    def of_file(cls, name: str, content: bytes) -> Image:
        """An image that holds this one file."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        made_of = {"type": "layers", "diff_ids": [Blob("", packed.getvalue()).digest]}
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": made_of}
        layer = Blob(f"{_OCI}.layer.v1.tar+gzip", gzip.compress(packed.getvalue(), mtime=0))
        return cls(Blob(f"{_OCI}.config.v1+json", json.dumps(config).encode()), layer)

    def manifest(self) -> Blob:
        """What a tag names."""
        said = {"schemaVersion": 2, "mediaType": f"{_OCI}.manifest.v1+json", "config": self.config.described()}
        said["layers"] = [self.layer.described()]
        return Blob(f"{_OCI}.manifest.v1+json", json.dumps(said).encode())


@dataclass(frozen=True, slots=True)
class Pusher:
    """Whoever may push: where to, and the header that the realm takes."""

    registry: str
    realm: str
    login: str
    tls: ssl.SSLContext

    async def push(self, image: Image, name: str, tag: str) -> None:
        """Push it; `SandboxError` where the registry does not take it."""
        async with aiohttp.ClientSession() as session:
            base, bearer = f"{self.registry}/v2/{name}", await self._token(session, name)
            for blob in (image.config, image.layer):
                begun = await self._send(session, "POST", f"{base}/blobs/uploads/", bearer, b"")
                place = begun.headers["Location"]
                joined = f"{place}{'&' if '?' in place else '?'}digest={blob.digest}"
                await self._send(session, "PUT", joined, bearer, blob.content)
            manifest = image.manifest()
            await self._send(session, "PUT", f"{base}/manifests/{tag}", bearer, manifest.content, manifest.kind)

    async def _token(self, session: aiohttp.ClientSession, name: str) -> str:
        asked = {"service": "container_registry", "scope": f"repository:{name}:pull,push"}
        headers = {"Authorization": self.login}
        async with session.get(self.realm, params=asked, headers=headers, ssl=self.tls) as answer:
            return str((await answer.json())["token"])

    async def _send(  # one call of HTTP has this many parts
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        bearer: str,
        body: bytes,
        kind: str = "application/octet-stream",
    ) -> aiohttp.ClientResponse:
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": kind}
        async with session.request(method, url, data=body, headers=headers, ssl=self.tls) as answer:
            if answer.status not in {201, 202}:
                raise SandboxError(f"the registry answered {answer.status} to a push; this is a fault of the sandbox")
            return answer
