"""Debian's `docker-registry` as a child, sending its clients to a GitLab double; an image; and `skopeo` with a login."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from juniperd.sandbox.gitlab import GitLabDouble
from juniperd.sandbox.listening import free_ports
from tests.requirements import require_peer

UNPACKED = Path(__file__).parents[2] / "build/docker-registry/usr/bin/docker-registry"
START_LIMIT = 20.0
POLL = 0.05
OCI = "application/vnd.oci.image"


@dataclass(frozen=True, slots=True)
class RealRegistry:
    """A running registry, and a folder for what its clients write."""

    host: str
    folder: Path

    async def copy(self, source: str, destination: str, login: tuple[str, str]) -> tuple[int, str]:
        """`skopeo copy` with one login for the registry; its exit code and what it said to standard error."""
        encoded = base64.b64encode(":".join(login).encode()).decode()
        logins = self.folder / "auth.json"
        logins.write_text(json.dumps({"auths": {self.host: {"auth": encoded}}}))
        options = ("--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false")
        skopeo = await asyncio.create_subprocess_exec(
            "skopeo",
            *options,
            f"--authfile={logins}",
            source,
            destination,
            env={"HOME": str(self.folder), "PATH": "/usr/bin:/bin", "TMPDIR": str(self.folder)},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await skopeo.communicate()
        return skopeo.returncode or 0, said.decode()

    def image(self, name: str) -> str:
        """How skopeo writes an image of this registry."""
        return f"docker://{self.host}/{name}"


@asynccontextmanager
async def real_registry(gitlab: GitLabDouble, folder: Path) -> AsyncIterator[RealRegistry]:
    """A registry that takes this GitLab's tokens; skips where the programs are not installed."""
    program = shutil.which(UNPACKED) or shutil.which("docker-registry")
    if program is None:
        require_peer("docker-registry", "the real registry is Debian's")
    if shutil.which("skopeo") is None:
        require_peer("skopeo", "the registry's real client is Debian's")
    [port] = free_ports(1)
    registry = RealRegistry(f"127.0.0.1:{port}", folder)
    config = folder / "registry.json"  # YAML reads JSON
    config.write_text(json.dumps(_configuration(gitlab, registry)))
    with (folder / "registry.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(program, "serve", str(config), stdout=log, stderr=log)
    try:
        await _answers(child, registry.host)
        yield registry
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


def _configuration(gitlab: GitLabDouble, registry: RealRegistry) -> dict[str, object]:
    bundle = registry.folder / "gitlab.pem"
    bundle.write_bytes(gitlab.registry_tokens.key.certificate())
    token = {
        "realm": f"{gitlab.url}/jwt/auth",
        "service": "container_registry",
        "issuer": "gitlab-issuer",
        "rootcertbundle": str(bundle),
    }
    return {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(registry.folder / "images")}},
        "http": {"addr": registry.host},
        "auth": {"token": token},
    }


async def _answers(child: asyncio.subprocess.Process, host: str) -> None:
    async with asyncio.timeout(START_LIMIT), aiohttp.ClientSession() as http:
        while child.returncode is None:
            try:
                async with http.get(f"http://{host}/v2/") as got:
                    assert got.status == 401
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(POLL)
    raise AssertionError(f"docker-registry ended with {child.returncode}")


def small_image(folder: Path) -> str:
    """An OCI image of one file, as skopeo writes it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("invoice"))
    layer = gzip.compress(packed.getvalue(), mtime=0)
    made_of = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(packed.getvalue()).hexdigest()}"]}
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": made_of}
    (folder / "blobs/sha256").mkdir(parents=True)
    parts = [_blob(folder, "config.v1+json", json.dumps(config).encode()), _blob(folder, "layer.v1.tar+gzip", layer)]
    manifest = {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": parts[0], "layers": parts[1:]}
    index = {"schemaVersion": 2, "manifests": [_blob(folder, "manifest.v1+json", json.dumps(manifest).encode())]}
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps(index))
    return f"oci:{folder}"


def _blob(folder: Path, kind: str, content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(content)
    return {"mediaType": f"{OCI}.{kind}", "digest": f"sha256:{digest}", "size": len(content)}
