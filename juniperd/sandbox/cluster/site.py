"""The paths that are no resources: health, version, discovery and OpenAPI; and how an answer is written."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from aiohttp import web

from juniperd.sandbox.cluster import discovery, openapi, swagger
from juniperd.sandbox.cluster.negotiation import JSON, of_discovery, of_objects
from juniperd.sandbox.cluster.status import PathUnknown, StatusError, not_acceptable, resource_unknown

_HEALTH: Final = ("/healthz", "/livez", "/readyz")
_PRIVATE: Final = {"Cache-Control": "no-cache, private"}
_NO_SNIFFING: Final = {"X-Content-Type-Options": "nosniff"}


def json_answer(
    body: Any,  # noqa: ANN401  # any JSON
    *,
    status: int = 200,
    content_type: str = JSON,
    headers: dict[str, str] | None = None,
) -> web.Response:
    """JSON as the API server ends it, kept by no cache unless the headers say so."""
    text = json.dumps(body, separators=(",", ":")) + "\n"
    return web.Response(
        body=text.encode(), status=status, headers={"Content-Type": content_type, **(headers or _PRIVATE)}
    )


def refusal(problem: StatusError) -> web.Response:
    """A refusal as it goes out."""
    headers = _PRIVATE | (_NO_SNIFFING if problem.code == 403 else {})
    return json_answer(problem.body(), status=problem.code, headers=headers)


def nothing_here() -> web.Response:
    """The answer at a path that nothing serves."""
    return web.Response(status=404, text="404 page not found\n", headers=_PRIVATE | _NO_SNIFFING)


def page(request: web.Request, address: str) -> web.Response:
    """The answer at a path that is no resource; `PathUnknown` where there is none."""
    if request.method not in ("GET", "HEAD"):
        raise PathUnknown
    path = request.path
    if path in _HEALTH:
        return web.Response(text="ok", headers=_PRIVATE | _NO_SNIFFING)
    if path.rstrip("/") == "/version":
        return json_answer(discovery.version())
    if path == "/openapi/v2":
        return _swagger(request)
    if path.startswith("/openapi/v3"):
        return _openapi(path)
    if path.strip("/").partition("/")[0] in ("api", "apis"):
        return _discovery(request, address)
    raise PathUnknown


def _swagger(request: web.Request) -> web.Response:
    accept = request.headers.get("Accept", "")
    if not any(name in accept for name in swagger.ASKED):
        raise not_acceptable((swagger.SWAGGER,))
    return web.Response(body=swagger.document(), headers=_PRIVATE | {"Content-Type": swagger.SWAGGER})


def _openapi(path: str) -> web.Response:
    rest = path.removeprefix("/openapi/v3").strip("/")
    found = openapi.document(rest) if rest else openapi.index()
    if found is None:
        raise PathUnknown
    return json_answer(found)


def _discovery(request: web.Request, address: str) -> web.Response:
    accept, prefix = request.headers.get("Accept", ""), request.path.strip("/")
    form = of_discovery(accept) if prefix in ("api", "apis") else of_objects(accept)
    if form.kind == discovery.AGGREGATED_KIND:
        return _aggregated(request, discovery.aggregated(prefix, form.version), form.content_type)
    found = discovery.plain(request.path, address)
    if found is not None:
        return json_answer(found)
    if discovery.serves(request.path):
        raise resource_unknown()
    raise PathUnknown


def _aggregated(request: web.Request, document: dict[str, Any], content_type: str) -> web.Response:
    digest = hashlib.sha512(json.dumps(document).encode()).hexdigest().upper()
    headers = {"ETag": f'"{digest}"', "Vary": "Accept", "Cache-Control": "public"}
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return web.Response(status=304, headers=headers)
    return json_answer(document, content_type=content_type, headers=headers)
