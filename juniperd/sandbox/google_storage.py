"""Cloud Storage's JSON API, as far as looking at objects, and putting and removing them.

https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import base64
import email.message
import email.parser
import email.policy
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from juniperd.sandbox.google_cloud import CLOUD_PLATFORM, Bucket, Cloud, StoredObject
from juniperd.sandbox.google_sts import Tokens

BODY_LIMIT: Final = 16 * 1024 * 1024
_SCOPES: Final = "https://www.googleapis.com/auth/devstorage."
_RANGE: Final = re.compile(r"bytes=([0-9]+)-([0-9]*)")


class StorageError(Exception):
    """A refusal with its status and the API's word for it."""

    def __init__(self, status: int, reason: str, text: str) -> None:
        super().__init__(text)
        self.status, self.reason, self.text = status, reason, text


@dataclass(frozen=True, slots=True)
class Storage:
    """The buckets of one cloud."""

    cloud: Cloud
    tokens: Tokens

    def routes(self, app: web.Application) -> None:
        """At the paths that Google's libraries use; an object's name is one part, with its slashes escaped."""
        one, every = "/storage/v1/b/{bucket}/o/{name:[^/]+}", "/storage/v1/b/{bucket}/o"
        app.router.add_get(every, self._answering(self._list))
        for path in (one, f"/download{one}"):
            app.router.add_get(path, self._answering(self._get))
        app.router.add_delete(one, self._answering(self._delete))
        app.router.add_post(f"/upload{every}", self._answering(self._insert))

    def _answering(self, act: Callable[[web.Request], Awaitable[web.Response]]) -> Any:  # noqa: ANN401  # aiohttp's
        async def answer(request: web.Request) -> web.Response:
            try:
                return await act(request)
            except StorageError as problem:
                return _error(problem)

        return answer

    def _bucket(self, request: web.Request, permission: str) -> Bucket:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        access = self.tokens.find(token) if kind == "Bearer" else None
        if access is None:
            raise StorageError(401, "authError", "Invalid Credentials")
        if not any(scope == CLOUD_PLATFORM or scope.startswith(_SCOPES) for scope in access.scopes):
            raise StorageError(403, "insufficientPermissions", "Request had insufficient authentication scopes.")
        bucket = self.cloud.buckets.get(request.match_info["bucket"])
        if bucket is None or not bucket.allows(access.members, permission):
            text = f"The caller does not have storage.{permission} access to the bucket (or it may not exist)."
            raise StorageError(403, "forbidden", text)
        return bucket

    async def _list(self, request: web.Request) -> web.Response:
        bucket = self._bucket(request, "objects.list")
        prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
        items, prefixes = [], set()
        for name, found in sorted(bucket.objects.items()):
            if not name.startswith(prefix):
                continue
            head, mark, _ = name.removeprefix(prefix).partition(delimiter) if delimiter else (name, "", "")
            if mark:
                prefixes.add(f"{prefix}{head}{mark}")
            else:
                items.append(_resource(request, name, found))
        return web.json_response({"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)})

    async def _get(self, request: web.Request) -> web.Response:
        bucket, name = self._bucket(request, "objects.get"), request.match_info["name"]
        found = bucket.objects.get(name)
        if found is None:
            raise StorageError(404, "notFound", f"No such object: {request.match_info['bucket']}/{name}")
        if request.query.get("alt") != "media":
            return web.json_response(_resource(request, name, found))
        wanted = _RANGE.fullmatch(request.headers.get("Range", ""))
        headers = {"X-Goog-Hash": f"md5={_md5(found)}", "X-Goog-Generation": str(found.generation)}
        if wanted is None:
            return web.Response(body=found.data, content_type=found.content_type, headers=headers)
        first, last = int(wanted[1]), int(wanted[2] or len(found.data) - 1)
        part = found.data[first : last + 1]
        if not part:
            raise StorageError(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
        headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(found.data)}"
        return web.Response(status=206, body=part, content_type=found.content_type, headers=headers)

    async def _insert(self, request: web.Request) -> web.Response:
        bucket, name = self._bucket(request, "objects.create"), request.query.get("name", "")
        kind, data = request.content_type, await request.read()
        if request.query.get("uploadType") == "multipart":
            name, kind, data = _related(request.headers["Content-Type"], data, name)
        elif request.query.get("uploadType") != "media":
            raise StorageError(400, "invalid", "this sandbox takes uploadType media and multipart")
        if not name:
            raise StorageError(400, "required", "Required parameter: name")
        before = bucket.objects.get(name)
        made = bucket.objects[name] = StoredObject(data, kind, before.generation + 1 if before else 1)
        return web.json_response(_resource(request, name, made))

    async def _delete(self, request: web.Request) -> web.Response:
        bucket, name = self._bucket(request, "objects.delete"), request.match_info["name"]
        if bucket.objects.pop(name, None) is None:
            raise StorageError(404, "notFound", f"No such object: {request.match_info['bucket']}/{name}")
        return web.Response(status=204)


def _related(content_type: str, body: bytes, name: str) -> tuple[str, str, bytes]:
    """Name, type and data of a multipart/related upload: the resource as JSON, then the object."""
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    parts = list(parser.parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body).iter_parts())
    try:
        meta, media = parts
        said = json.loads(_bytes(meta))
    except ValueError:
        raise StorageError(400, "badRequest", "Malformed multipart body.") from None
    kind = str(said.get("contentType") or media.get_content_type())
    return str(said.get("name") or name), kind, _bytes(media)


def _bytes(part: email.message.Message) -> bytes:
    found = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""


def _resource(request: web.Request, name: str, found: StoredObject) -> dict[str, object]:
    bucket = request.match_info["bucket"]
    path = f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
    return {
        "kind": "storage#object",
        "selfLink": f"http://{request.host}{path}",
        "mediaLink": f"http://{request.host}/download{path}?generation={found.generation}&alt=media",
        "id": f"{bucket}/{name}/{found.generation}",
        "name": name,
        "bucket": bucket,
        "generation": str(found.generation),
        "metageneration": "1",
        "contentType": found.content_type,
        "size": str(len(found.data)),
        "md5Hash": _md5(found),
        "storageClass": "STANDARD",
        "timeCreated": "2026-11-01T06:00:00.000Z",
        "updated": "2026-11-01T06:00:00.000Z",
        "etag": f"sandbox{found.generation}",
    }


def _md5(found: StoredObject) -> str:
    return base64.b64encode(hashlib.md5(found.data, usedforsecurity=False).digest()).decode()


def _error(problem: StorageError) -> web.Response:
    row = {"message": problem.text, "domain": "global", "reason": problem.reason}
    body = {"error": {"code": problem.status, "message": problem.text, "errors": [row]}}
    return web.json_response(body, status=problem.status)
