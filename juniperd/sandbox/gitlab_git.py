"""The sandbox GitLab's Git over smart HTTP: who may, by deploy token, in front of the machine's own `git http-backend`.

Protocol: https://git-scm.com/docs/http-protocol and, towards the backend, CGI (RFC 3875).
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from juniperd.sandbox.gitlab_basic_auth import BasicAuth, DeniedError, denied_text, forbidden
from juniperd.sandbox.world import World

FETCH: Final = "git-upload-pack"
SERVED: Final = ("shop/billing",)
"""The projects that have a repository."""
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="GitLab"'}
_NOT_FOUND: Final = "The project you were looking for could not be found or you don't have permission to view it."


class GitError(Exception):
    """Git could not make a repository; its text is Git's own."""


@dataclass(frozen=True, slots=True)
class GitRepositories:
    """Bare repositories under `folder`, for clone and fetch alone: a deploy token never pushes."""

    world: World
    url: str
    basic: BasicAuth
    folder: Path

    def routes(self) -> list[web.RouteDef]:
        """The smart protocol's three endpoints; the old one, file by file, is not there."""
        return [
            web.get("/{path:.+}.git/info/refs", self._refs),
            web.post("/{path:.+}.git/{service:git-(?:upload|receive)-pack}", self._pack),
        ]

    async def make(self, _: web.Application) -> None:
        """Make every repository that is not there yet, with one commit on the project's default branch."""
        for path in SERVED:
            where = self.folder / f"{path}.git"
            if not where.exists():
                for folder in (self.folder, where.parent, where):
                    folder.mkdir(mode=0o700, exist_ok=True)
                await _made(where, self.world.project(path).default_branch)

    async def _refs(self, request: web.Request) -> web.Response:
        return await self._answer(request, request.query.get("service", ""))

    async def _pack(self, request: web.Request) -> web.Response:
        return await self._answer(request, request.match_info["service"])

    async def _answer(self, request: web.Request, service: str) -> web.Response:
        if self.basic.banned(request):
            return forbidden()
        try:
            holder = self.basic.holder(request)
        except DeniedError:
            holder = None
        if holder is None:
            return web.Response(status=401, text=denied_text(self.url), headers=_CHALLENGE)
        if service != FETCH:
            return web.Response(status=403, text="You are not allowed to upload code.")
        if "read_repository" not in holder.scopes:
            return web.Response(status=403, text="You are not allowed to download code.")
        path = request.match_info["path"]
        if path not in SERVED or self.world.project(path).id != holder.project_id:
            return web.Response(status=404, text=_NOT_FOUND)
        return await self._backend(request, holder.username)

    async def _backend(self, request: web.Request, username: str) -> web.Response:
        body = await request.read()  # aiohttp has undone a gzip, so the backend is told of none
        variables = {
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_USER": username,
        }
        answer = await _git(self.folder, "http-backend", given=body, **variables)
        head, _, content = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=headers, body=content)


async def _made(where: Path, branch: str) -> None:
    await _git(where, "init", "--quiet", "--bare", f"--initial-branch={branch}")
    readme = (await _git(where, "hash-object", "-w", "--stdin", given=b"# Billing\n")).decode().strip()
    tree = (await _git(where, "mktree", given=f"100644 blob {readme}\tREADME.md\n".encode())).decode().strip()
    commit = (await _git(where, "commit-tree", "-m", "Begin", tree)).decode().strip()
    await _git(where, "update-ref", f"refs/heads/{branch}", commit)


async def _git(where: Path, *command: str, given: bytes = b"", **variables: str) -> bytes:
    """What Git prints; nobody's own configuration plays a part."""
    identity = {"NAME": "Sandbox", "EMAIL": "sandbox@shop.example"}
    named = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in identity.items()}
    alone = {"PATH": os.defpath, "HOME": str(where), "GIT_CONFIG_NOSYSTEM": "1"}
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        "git", *command, cwd=where, env=alone | named | variables, stdin=pipe, stdout=pipe, stderr=pipe, umask=0o077
    )
    printed, said = await child.communicate(given)
    if child.returncode:
        raise GitError(said.decode(errors="replace").strip())
    return printed
